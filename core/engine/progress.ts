/** Progress is told so often at most: those who follow the library have to read all of it. */
const PROGRESS_MS = 200;

/** Tells the first time, and then now and then. */
export function nowAndThen(tell: (done: number, total: number) => void): (done: number, total: number) => void {
  let told = -Infinity;
  return (done, total) => {
    if (performance.now() - told < PROGRESS_MS) return;
    told = performance.now();
    tell(done, total);
  };
}
