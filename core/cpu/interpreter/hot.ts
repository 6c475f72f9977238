/** Forms that are cases of the interpreter's switch, most frequent first (`npm run bench -- profile` measures them on real guests). */
export const HOT_LONG: readonly string[] = [];
export const HOT_LEGACY: readonly string[] = [];
