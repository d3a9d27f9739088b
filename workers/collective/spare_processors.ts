/** A host with as many processors can spare one for each who waits for microseconds; with fewer, they keep what they wait for from being computed. */
const MANY_PROCESSORS = 8;

/** Whether this host has processors to spare. */
export function hasSpareProcessors(): boolean {
  return navigator.hardwareConcurrency >= MANY_PROCESSORS;
}
