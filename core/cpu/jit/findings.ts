/** What regions find out about the instruction at an address. Several may have it, and what they have found stays known when they are gone. */

/** Addresses that are remembered beyond their regions. */
const REMEMBERED_LIMIT = 20_000;

/** `Place`: where a region, by its index, notes something; `Finding`: what follows from that. Addresses are named as blocks are (heat.ts). */
export class Findings<Place extends { readonly index: number }, Finding> {
  private readonly places = new Map<number, Place[]>();
  private readonly remembered = new Map<number, Finding>();
  private readonly judge: (places: readonly Place[]) => Finding | null;

  /** @param judge what follows from the places of an instruction; null: nothing yet */
  constructor(judge: (places: readonly Place[]) => Finding | null) {
    this.judge = judge;
  }

  add(key: number, place: Place): void {
    const places = this.places.get(key);
    if (places) places.push(place);
    else this.places.set(key, [place]);
  }

  of(key: number): Finding | null {
    return this.judge(this.places.get(key) ?? []) ?? this.remembered.get(key) ?? null;
  }

  /** The region with an index, which has notes of some addresses, is gone. */
  remove(index: number, keys: readonly number[]): void {
    for (const key of keys) {
      const finding = this.of(key);
      if (finding !== null) {
        if (this.remembered.size >= REMEMBERED_LIMIT) this.remembered.clear();
        this.remembered.set(key, finding);
      }
      const places = (this.places.get(key) ?? []).filter(place => place.index !== index);
      if (places.length > 0) this.places.set(key, places);
      else this.places.delete(key);
    }
  }

  clear(): void {
    this.places.clear();
    this.remembered.clear();
  }
}
