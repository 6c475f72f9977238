/** Folder of the checkout, with a slash at its end. */
export declare const root: string;
export declare const parts: Readonly<Record<string, readonly string[]>>;
export declare function newestSource(part: string): number;
export declare function staleParts(names: readonly string[]): string[];
