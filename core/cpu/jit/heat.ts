/** Where the guest spends its time, by samples: whenever a part of a slice's budget has run out, the block that would run next gets a mark. */

/** Samples after which marks count half. */
const DECAY_SAMPLES = 20_000;
/** Marks of a block at which it is first looked at, and between two looks at least: looking costs something itself. */
const FIRST_LOOK = 4;
const LOOK_AGAIN = 8;
/** Blocks that are remembered as entered; beyond it all are forgotten. */
const TAKEN_LIMIT = 200_000;

/** Blocks are named by guest-physical address times 4 plus code size (0 to 2). */
export class Heat {
  private marks = new Map<number, number>();
  private readonly taken = new Set<number>();
  /** Marks at which a block is looked at again, whether its region pays. */
  private looks = new Map<number, number>();
  private samples = 0;

  static key(gpa: number, size: number): number {
    return gpa * 4 + size;
  }

  /** Marks a block that a branch is about to enter; returns whether it is time to ask if its region pays. */
  mark(key: number): boolean {
    if (++this.samples >= DECAY_SAMPLES) this.decay();
    const marks = (this.marks.get(key) ?? 0) + 1;
    this.marks.set(key, marks);
    this.taken.add(key);
    return marks >= (this.looks.get(key) ?? FIRST_LOOK);
  }

  /** The region of a block lacks so many marks: the block is asked again when it has got a fair part of them itself. */
  postpone(key: number, lacking: number): void {
    this.looks.set(key, (this.marks.get(key) ?? 0) + Math.max(LOOK_AGAIN, lacking >> 2));
  }

  /** Whether a branch was ever seen to enter a block. */
  isTaken(key: number): boolean {
    return this.taken.has(key);
  }

  sum(keys: Iterable<number>): number {
    let marks = 0;
    for (const key of keys) marks += this.marks.get(key) ?? 0;
    return marks;
  }

  /** Forgets the marks of blocks that have been compiled. */
  cool(keys: Iterable<number>): void {
    for (const key of keys) {
      this.marks.delete(key);
      this.looks.delete(key);
    }
  }

  clear(): void {
    this.marks.clear();
    this.looks.clear();
  }

  /** Code that is merely old must not become hot. */
  private decay(): void {
    this.samples = 0;
    const old = this.marks;
    this.marks = new Map();
    this.looks = new Map();
    for (const [key, marks] of old) if (marks > 1) this.marks.set(key, marks >> 1);
    if (this.taken.size > TAKEN_LIMIT) this.taken.clear();
  }
}
