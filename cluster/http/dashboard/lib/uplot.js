// For tests: the page is given the package's own file under this name, see ../libraries.ts.
export { default } from "uplot";
