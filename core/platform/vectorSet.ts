/** A set of interrupt vectors: IRR, ISR and TMR, each eight 32-bit words. */
export class VectorSet {
  private readonly words = new Uint32Array(8);
  /** The highest vector in the set, or -1. */
  highest = -1;

  has(vector: number): boolean {
    return ((this.word(vector >> 5) >>> (vector & 31)) & 1) !== 0;
  }

  set(vector: number): void {
    this.words[vector >> 5] = this.word(vector >> 5) | (1 << (vector & 31));
    if (vector > this.highest) this.highest = vector;
  }

  clear(vector: number): void {
    this.words[vector >> 5] = this.word(vector >> 5) & ~(1 << (vector & 31));
    if (vector === this.highest) this.find();
  }

  empty(): void {
    this.words.fill(0);
    this.highest = -1;
  }

  /** Vectors 32 * index to 32 * index + 31 as a bit mask, unsigned. */
  word(index: number): number {
    return this.words[index] ?? 0;
  }

  save(): number[] {
    return [...this.words];
  }

  load(words: readonly number[]): void {
    this.words.set(words);
    this.find();
  }

  private find(): void {
    this.highest = -1;
    for (let index = 7; index >= 0 && this.highest < 0; index--) {
      const word = this.word(index);
      if (word !== 0) this.highest = index * 32 + 31 - Math.clz32(word);
    }
  }
}
