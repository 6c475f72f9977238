/** Where the guest spends its time, by samples: whenever a part of a slice's budget has run out, the block that would run next gets a mark. */

/** Samples after which marks count half. */
const DECAY_SAMPLES = 20_000;
/** Marks of a block at which it is first looked at, and between two looks at least: looking costs something itself. */
const FIRST_LOOK = 24;
const LOOK_AGAIN = 24;
/** Blocks that are remembered as entered; beyond it those without marks are forgotten. */
const TAKEN_LIMIT = 200_000;

/** What a block's region would be made of, as it was when it was looked at: blocks, and the marks that they need together. */
export interface Prospect {
  readonly keys: readonly number[];
  readonly cost: number;
}

/** A block that a branch was seen to enter. */
interface Block {
  marks: number;
  /** Marks at which it is looked at. */
  look: number;
  /** What was found there the last time. */
  prospect: Prospect | null;
}

/** Blocks are named by guest-physical address times 4 plus code size (0 to 2). */
export class Heat {
  private readonly blocks = new Map<number, Block>();
  private samples = 0;

  static key(gpa: number, size: number): number {
    return gpa * 4 + size;
  }

  /** The address and the code size that a name stands for. */
  static blockOf(key: number): { readonly gpa: number; readonly size: number } {
    const size = key & 3;
    return { gpa: (key - size) / 4, size };
  }

  /** Marks a block that a branch is about to enter; returns whether it is time to look if its region pays. */
  mark(key: number): boolean {
    if (++this.samples >= DECAY_SAMPLES) this.decay();
    const block = this.blocks.get(key);
    if (!block) {
      this.blocks.set(key, { marks: 1, look: FIRST_LOOK, prospect: null });
      return false;
    }
    block.marks++;
    if (block.marks < block.look) return false;
    // Discovering the region takes a hundred times as long as this.
    const lacking = block.prospect ? this.lacking(block.prospect) : 0;
    if (lacking > 0) wait(block, lacking);
    return lacking <= 0;
  }

  /** Marks that a prospect lacks to pay; 0 or less when it does. */
  lacking({ keys, cost }: Prospect): number {
    let lacking = cost;
    for (const key of keys) lacking -= this.blocks.get(key)?.marks ?? 0;
    return lacking;
  }

  /** The region of a block does not pay yet: the block is asked again when it has got a fair part of what lacks itself. */
  postpone(key: number, prospect: Prospect): void {
    let block = this.blocks.get(key);
    if (!block) this.blocks.set(key, block = { marks: 0, look: FIRST_LOOK, prospect: null });
    block.prospect = prospect;
    wait(block, this.lacking(prospect));
  }

  /** Whether a branch was ever seen to enter a block. */
  isTaken(key: number): boolean {
    return this.blocks.has(key);
  }

  /** Forgets the marks of blocks that have been compiled. */
  cool(keys: readonly number[]): void {
    for (const key of keys) {
      const block = this.blocks.get(key);
      if (block) forget(block, 0);
    }
  }

  /** The block with the most marks of those that somebody takes, null when there is none with two; it has none afterwards. */
  takeHottest(takes: (key: number) => boolean): number | null {
    let hottest: number | null = null;
    let most = 1;
    for (const [key, { marks }] of this.blocks) {
      if (marks <= most || !takes(key)) continue;
      most = marks;
      hottest = key;
    }
    if (hottest !== null) this.cool([hottest]);
    return hottest;
  }

  clear(): void {
    for (const block of this.blocks.values()) forget(block, 0);
  }

  /** Code that is merely old must not become hot. */
  private decay(): void {
    this.samples = 0;
    const crowded = this.blocks.size > TAKEN_LIMIT;
    for (const [key, block] of this.blocks) {
      forget(block, block.marks >> 1);
      if (crowded && block.marks === 0) this.blocks.delete(key);
    }
  }
}

function wait(block: Block, lacking: number): void {
  block.look = block.marks + Math.max(LOOK_AGAIN, lacking >> 2);
}

function forget(block: Block, marks: number): void {
  block.marks = marks;
  block.look = FIRST_LOOK;
  block.prospect = null;
}
