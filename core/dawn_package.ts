/**
 * Where Dawn comes from: a native package that is large, and that nobody who does not ask for it should have to download.
 *
 * @module
 */

/** The package, at the version that kernels are made for. */
export const DAWN_PACKAGE = "webgpu@0.6.2";

/** Installs it and says where it is. */
export const INSTALL_DAWN = `npm install --prefix ~/.dawn ${DAWN_PACKAGE} && export LATENTMESH_DAWN=~/.dawn/node_modules/webgpu/index.js`;
