/** The interrupt controllers of one machine, connected: 8259A pair, I/O APIC, a local APIC for each vCPU. */

import { IoApic } from './ioApic.ts';
import { LocalApic } from './localApic.ts';
import { Pic } from './pic.ts';
import { SharedWire, deliveryMode, messageFromMsi } from './interrupts.ts';
import { pciInterruptPins, pciLegacyIrqs } from './memoryLayout.ts';
import type { ApicFabric } from './localApic.ts';
import type { InterruptMessage, InterruptRemapper, LevelInterrupt } from './interrupts.ts';
import type { Shorthand } from './localApicMessages.ts';
import { apicIds, ioApicId } from './topology.ts';
import type { Topology } from './topology.ts';
import type { VirtualClock } from './clock.ts';

/** The I/O APIC pin of each ISA interrupt: the timer sits on pin 2, as the MADT's override says; 2 is the cascade. */
export function isaPin(irq: number): number {
  return irq === 0 ? 2 : irq;
}

/** ISA interrupts that a PIRQ register can name. @ich9 13.1.18 */
function isPirqTarget(irq: number): boolean {
  return irq >= 3 && ![8, 13].includes(irq);
}

/** The requester ID of the I/O APIC: no bus has this device. */
const ioApicRequester = 0xf0f8;

export class InterruptSystem implements ApicFabric {
  readonly pic: Pic;
  readonly ioApic: IoApic;
  readonly localApics: readonly LocalApic[];
  /** What the interrupts of devices and of the I/O APIC go through, where the machine has such a unit. */
  remapper: InterruptRemapper | null = null;
  /** The requester ID that the I/O APIC's messages carry; the DMAR table tells it. The platform's firmware chooses it. */
  ioApicRequester = ioApicRequester;
  private readonly isa: readonly SharedWire[];
  private readonly pins: readonly SharedWire[];
  private readonly pirqs: readonly SharedWire[];
  private readonly pirqRoutes: ((irq: number | null) => void)[] = [];
  /** For each PIRQ line a wire of its own to each ISA interrupt of the 8259A pair that it may be routed to. */
  private readonly legacyWires: readonly (readonly (LevelInterrupt | null)[])[];
  /** Where the search for a lowest-priority target begins: ties go round. */
  private turn = 0;

  constructor(clock: VirtualClock, topology: Topology, physicalAddressBits: number) {
    this.localApics = apicIds(topology).map((id, index) => new LocalApic(index, id, clock, this, physicalAddressBits));
    this.ioApic = new IoApic(ioApicId(topology), (message, address, data) => (
      this.remapper === null ? this.deliver(message) : this.remapper.interrupt(this.ioApicRequester, address, data, message)
    ));
    const lint0 = this.localApics.map(apic => apic.pin(0));
    this.pic = new Pic({ set: asserted => lint0.forEach(pin => pin.set(asserted)) });
    // Pin 0 of the I/O APIC has no wire: the 8259A reaches the processors through LINT0.
    this.pins = Array.from({ length: 24 }, (_, pin) => new SharedWire(this.ioApic.pin(pin)));
    this.isa = Array.from({ length: 16 }, (_, irq) => {
      const pic = this.pic.input(irq);
      const apic = this.pins[isaPin(irq)]?.source();
      return new SharedWire({
        set: asserted => {
          pic.set(asserted);
          apic?.set(asserted);
        },
      });
    });
    this.legacyWires = [0, 1, 2, 3].map(() => this.isa.map((wire, irq) => (isPirqTarget(irq) ? wire.source() : null)));
    this.pirqs = [0, 1, 2, 3].map(line => this.makePirq(line));
  }

  /** A wire of its own to an ISA interrupt, on both the 8259A and the I/O APIC. */
  isaWire(irq: number): LevelInterrupt {
    const wire = this.isa[irq];
    if (wire === undefined || irq === 2) throw new Error(`no ISA interrupt ${irq}`);
    return wire.source();
  }

  /** A wire of its own to an I/O APIC pin, without the 8259A. */
  pinWire(pin: number): LevelInterrupt {
    const wire = this.pins[pin];
    if (wire === undefined) throw new Error(`no I/O APIC pin ${pin}`);
    return wire.source();
  }

  /** A wire for INTA# to INTD# (`pin` 0 to 3) of a PCI slot: to the I/O APIC and to the 8259A pair, as _PRT tells. */
  pciWire(slot: number, pin: number): LevelInterrupt {
    return this.pirqs[(slot + pin) & 3]?.source() ?? { set() {} };
  }

  /** Which ISA interrupt PIRQA to PIRQD (0 to 3) reaches on the 8259A pair; null: none. */
  routePirq(line: number, irq: number | null): void {
    this.pirqRoutes[line]?.(irq);
  }

  private makePirq(line: number): SharedWire {
    const pin = this.pinWire(pciInterruptPins[line] ?? 16);
    const legacy = this.legacyWires;
    let routed: number | null = pciLegacyIrqs[line] ?? null;
    let level = false;
    const drive = (asserted: boolean): void => {
      if (routed !== null) legacy[line]?.[routed]?.set(asserted);
    };
    this.pirqRoutes[line] = irq => {
      drive(false);
      routed = irq;
      drive(level);
    };
    return new SharedWire({
      set: asserted => {
        level = asserted;
        pin.set(asserted);
        drive(asserted);
      },
    });
  }

  /** A device's write to the interrupt address range, with its requester ID. Returns false for any other address. */
  writeMsi(address: number, data: number, requester = 0): boolean {
    const message = messageFromMsi(address, data);
    if (message === null) return false;
    if (this.remapper === null) this.deliver(message);
    else this.remapper.interrupt(requester, address, data, message);
    return true;
  }

  /** Delivers to every local APIC the message names, or to one of them for lowest priority. Returns whether any accepted. */
  deliver(message: InterruptMessage): boolean {
    return this.deliverTo(this.localApics.filter(apic => apic.matches(message)), message);
  }

  send(message: InterruptMessage, from: LocalApic, shorthand: Shorthand): void {
    if (shorthand === 'none') this.deliver(message);
    else if (shorthand === 'self') from.accept(message);
    else this.deliverTo(this.localApics.filter(apic => apic !== from || shorthand === 'all'), message);
  }

  endOfInterrupt(vector: number): void {
    this.ioApic.endOfInterrupt(vector);
  }

  acknowledgeExternal(): number {
    return this.pic.acknowledge();
  }

  peekExternal(): number {
    return this.pic.peek();
  }

  private deliverTo(targets: readonly LocalApic[], message: InterruptMessage): boolean {
    if (message.mode !== deliveryMode.lowestPriority) {
      // Each target gets its copy: no short circuit.
      return targets.filter(apic => apic.accept(message)).length > 0;
    }
    return this.arbitrate(targets.filter(apic => apic.acceptsVectors), message.vector)?.accept(message) ?? false;
  }

  /** The focus processor, else the one with the lowest processor priority, in turn among equals. @sdm 3A 11.6.2.4 */
  private arbitrate(targets: readonly LocalApic[], vector: number): LocalApic | undefined {
    const focus = targets.find(apic => apic.isFocus(vector));
    if (focus !== undefined) return focus;
    const ordered = [...targets.slice(this.turn % (targets.length || 1)), ...targets.slice(0, this.turn % (targets.length || 1))];
    this.turn = (this.turn + 1) & 0xff;
    return ordered.reduce<LocalApic | undefined>((best, apic) => (best === undefined || apic.ppr < best.ppr ? apic : best), undefined);
  }
}
