/** One TCP connection of the guest, ended here: bytes go on through a socket of the host. The link below loses nothing unless the guest does. */

import { ByteQueue } from './byteQueue.ts';
import { tcpFlag } from './packets.ts';
import type { TcpSegment } from './packets.ts';

/** The host's side of a connection, as far as it is needed. */
export interface HostStream {
  /** Bytes from the guest. Returns how many wait to be sent. */
  write(bytes: Uint8Array): number;
  /** The guest sends nothing more. */
  end(): void;
  /** Ends both directions with a reset. */
  destroy(): void;
  /** Whether bytes for the guest are to be read. */
  setReading(reading: boolean): void;
}

/** What a connection sends to the guest. */
export interface TcpOutput {
  /** A segment with `length` bytes of data, which may be more than the link's frames take when `largeSegments` says so. False: there is no room. */
  send(segment: Omit<TcpSegment, 'data'>, length: number, fill: (into: Uint8Array) => void): boolean;
  largeSegments(): boolean;
  /** Calls `acknowledge` of the connection when everything has been received that came together. */
  owe(): void;
  /** Calls `tick` of the connection after this time. */
  setTimer(milliseconds: number | null): void;
  /** The connection is over: forget it. */
  closed(): void;
}

type State = 'listening' | 'connecting' | 'syn-sent' | 'syn-received' | 'established' | 'closed';

/** Bytes that may wait on their way to the host before the guest's window closes. */
const RECEIVE_BYTES = 512 * 1024;
/** Bytes that may wait on their way to the guest before the host's socket is no longer read. */
const SEND_BYTES = 512 * 1024;
const WINDOW_SCALE = 5;
/** By the version of IP: what its header leaves of 1500 bytes. */
const segmentLimit = { 4: 1460, 6: 1440 } as const;
/** Segments in one large one. */
const LARGE = 44;
const RETRY_MS = 200;
const RETRY_MAXIMUM_MS = 10_000;
const RETRIES = 12;
/** A connection that both sides have ended stays as long, for the guest's last words. */
const LINGER_MS = 30_000;

const nothing = (): void => {};

/** Whether `a` is behind `b` in sequence space. */
function before(a: number, b: number): boolean {
  return ((a - b) | 0) < 0;
}

export class TcpConnection {
  readonly #ports: { readonly guest: number; readonly peer: number };
  readonly #output: TcpOutput;
  readonly #segmentMaximum: number;
  #host: HostStream | null = null;
  #state: State;
  /** Next byte expected from the guest. */
  #receiveNext = 0;
  /** The end of the window that the guest was told of. */
  #receiveEdge = 0;
  #guestEnded = false;
  /** Our first byte, the oldest that is not acknowledged, the next to send. */
  readonly #first: number;
  #unacknowledged: number;
  #next: number;
  readonly #queue = new ByteQueue();
  #hostEnded = false;
  #window = 0;
  #scale = 0;
  #scaled = false;
  #segmentBytes = 536;
  #duplicates = 0;
  #retries = 0;
  /** Bytes of ours that wait in the host's socket. */
  #backlog = 0;
  /** The guest has not been told of everything that it sent. */
  #owed = false;
  #reading = false;

  /** @param version of IP, @param first our initial sequence number */
  constructor(ports: { readonly guest: number; readonly peer: number }, version: 4 | 6, first: number, output: TcpOutput) {
    this.#ports = ports;
    this.#segmentMaximum = segmentLimit[version];
    this.#output = output;
    this.#first = first >>> 0;
    this.#unacknowledged = this.#first;
    this.#next = this.#first;
    this.#state = 'listening';
  }

  get state(): State {
    return this.#state;
  }

  /** The guest asked for the connection; `connected` or `refused` answers when the host knows. */
  begin(syn: TcpSegment): void {
    this.#takeOptions(syn);
    this.#receiveNext = (syn.sequence + 1) >>> 0;
    this.#state = 'connecting';
  }

  /** Somebody on the host asked for a connection into the guest. */
  connect(host: HostStream): void {
    this.#host = host;
    this.#state = 'syn-sent';
    this.#sendSyn(tcpFlag.syn);
    this.#arm();
  }

  /** The host has connected. */
  connected(host: HostStream): void {
    if (this.#state !== 'connecting') return host.destroy();
    this.#host = host;
    this.#state = 'syn-received';
    this.#sendSyn(tcpFlag.syn | tcpFlag.ack);
    this.#arm();
  }

  /** The host cannot connect, or the connection broke there. */
  refused(): void {
    if (this.#state !== 'closed') this.#reset();
  }

  /** Bytes from the host; they stay the caller's. */
  fromHost(bytes: Uint8Array): void {
    if (this.#state === 'closed' || this.#hostEnded) return;
    this.#queue.push(bytes);
    if (this.#queue.length >= SEND_BYTES) this.#setReading(false);
    this.#transmit();
  }

  hostEnded(): void {
    if (this.#hostEnded || this.#state === 'closed') return;
    this.#hostEnded = true;
    this.#transmit();
  }

  /** The host's socket has sent everything it held. */
  hostDrained(): void {
    this.#backlog = 0;
    if (this.#state === 'established' && this.#room() - ((this.#receiveEdge - this.#receiveNext) >>> 0) >= RECEIVE_BYTES / 4) this.#sendAck();
  }

  /** There is room in the ring to the guest again. */
  roomForMore(): void {
    this.#transmit();
    this.acknowledge();
  }

  /** Acknowledges what came since the last segment of ours. */
  acknowledge(): void {
    if (this.#owed && this.#state !== 'closed') this.#sendAck();
  }

  /** Ends the connection without a word to the guest. */
  abandon(): void {
    this.#host?.destroy();
    this.#close();
  }

  receive(segment: TcpSegment): void {
    const { flags } = segment;
    if ((flags & tcpFlag.rst) !== 0) return this.#receiveReset(segment);
    if (this.#state === 'syn-sent') return this.#receiveSynAck(segment);
    if ((flags & tcpFlag.syn) !== 0) {
      // The guest did not hear our answer; or it begins anew on the same ports, which it may after its own restart.
      if (this.#state === 'syn-received' && ((segment.sequence + 1) >>> 0) === this.#receiveNext) this.#sendSyn(tcpFlag.syn | tcpFlag.ack);
      else if (this.#state === 'established') this.#sendAck();
      return;
    }
    if ((flags & tcpFlag.ack) === 0 || this.#state === 'connecting') return;
    if (this.#state === 'syn-received' && !this.#establish(segment)) return;
    this.#receiveAcknowledgement(segment);
    this.#receiveData(segment);
    this.#finish();
  }

  /** The time asked for is over: what was not acknowledged is sent again. */
  tick(): void {
    if (this.#state === 'closed') return;
    if (this.#over()) return this.#close();
    this.#retries += 1;
    if (this.#retries > RETRIES) return this.#reset();
    if (this.#state === 'syn-sent') this.#sendSyn(tcpFlag.syn);
    else if (this.#state === 'syn-received') this.#sendSyn(tcpFlag.syn | tcpFlag.ack);
    else this.#sendAgain();
    this.#arm();
  }

  // ---- From the guest -----------------------------------------------------------------------------------------------

  #receiveReset({ sequence, flags, acknowledgement }: TcpSegment): void {
    const valid = this.#state === 'syn-sent' ? (flags & tcpFlag.ack) !== 0 && acknowledgement === this.#next : !before(sequence, this.#receiveNext);
    if (this.#state === 'connecting' || valid) this.abandon();
  }

  #receiveSynAck(segment: TcpSegment): void {
    const both = tcpFlag.syn | tcpFlag.ack;
    if ((segment.flags & both) !== both || segment.acknowledgement !== this.#next) return;
    this.#takeOptions(segment);
    this.#receiveNext = (segment.sequence + 1) >>> 0;
    this.#unacknowledged = this.#next;
    this.#window = segment.window;
    this.#state = 'established';
    this.#retries = 0;
    this.#sendAck();
    this.#setReading(true);
    this.#arm();
  }

  #establish({ acknowledgement }: TcpSegment): boolean {
    if (acknowledgement !== this.#next) return false;
    this.#state = 'established';
    this.#retries = 0;
    this.#setReading(true);
    return true;
  }

  #takeOptions({ maximumSegment, windowScale }: TcpSegment): void {
    this.#segmentBytes = Math.max(64, Math.min(maximumSegment ?? 536, this.#segmentMaximum));
    this.#scaled = windowScale !== null;
    this.#scale = windowScale ?? 0;
  }

  #receiveAcknowledgement({ acknowledgement, window, data }: TcpSegment): void {
    if (before(this.#next, acknowledgement)) return this.#sendAck();
    const wide = window * 2 ** this.#scale;
    if (before(this.#unacknowledged, acknowledgement)) {
      this.#drop((acknowledgement - this.#unacknowledged) >>> 0);
      this.#unacknowledged = acknowledgement;
      this.#duplicates = 0;
      this.#retries = 0;
      this.#window = wide;
      this.#arm();
    } else if (acknowledgement === this.#unacknowledged) {
      const duplicate = data.length === 0 && wide === this.#window && this.#unacknowledged !== this.#next;
      this.#duplicates = duplicate ? this.#duplicates + 1 : 0;
      this.#window = wide;
      if (this.#duplicates === 3) this.#sendAgain();
    }
    this.#transmit();
  }

  /** In order or not at all: nothing overtakes on this link, and what was lost is sent again. */
  #receiveData({ sequence, data, flags }: TcpSegment): void {
    const fin = (flags & tcpFlag.fin) !== 0;
    if (data.length === 0 && !fin) return;
    const old = (this.#receiveNext - sequence) | 0;
    if (old < 0 || old > data.length || this.#guestEnded) return this.#sendAck();
    const room = this.#room();
    const fresh = data.subarray(old, old + room);
    if (fresh.length > 0) {
      this.#receiveNext = (this.#receiveNext + fresh.length) >>> 0;
      this.#backlog = this.#host?.write(fresh) ?? 0;
    }
    if (fin && old + fresh.length === data.length) {
      this.#receiveNext = (this.#receiveNext + 1) >>> 0;
      this.#guestEnded = true;
      this.#host?.end();
    }
    this.#owed = true;
    this.#output.owe();
  }

  #setReading(reading: boolean): void {
    if (this.#reading === reading) return;
    this.#reading = reading;
    this.#host?.setReading(reading);
  }

  // ---- To the guest -------------------------------------------------------------------------------------------------

  #drop(count: number): void {
    // The bytes of SYN and FIN are in the count and not in the queue.
    this.#queue.drop(Math.min(count, this.#queue.length));
    if (this.#queue.length < SEND_BYTES / 2 && !this.#hostEnded) this.#setReading(true);
  }

  /** Sends as much as the guest's window and the ring take. */
  #transmit(): void {
    if (this.#state !== 'established') return;
    const limit = this.#segmentBytes === this.#segmentMaximum && this.#output.largeSegments() ? LARGE * this.#segmentMaximum : this.#segmentBytes;
    for (;;) {
      const sent = (this.#next - this.#unacknowledged) >>> 0;
      const finSent = sent > this.#queue.length;
      if (finSent) return;
      const length = Math.min(this.#queue.length - sent, this.#window - sent, limit);
      if (length > 0) {
        if (!this.#sendBytes(sent, length)) return;
        this.#next = (this.#next + length) >>> 0;
      } else if (this.#hostEnded && sent === this.#queue.length) {
        if (!this.#output.send(this.#header(this.#next, tcpFlag.fin | tcpFlag.ack), 0, nothing)) return;
        this.#next = (this.#next + 1) >>> 0;
        return this.#arm();
      } else {
        if (this.#queue.length > sent && sent === 0) this.#arm();
        return;
      }
      if (sent === 0) this.#arm();
    }
  }

  #sendBytes(from: number, length: number): boolean {
    const push = from + length === this.#queue.length ? tcpFlag.psh : 0;
    return this.#output.send(this.#header((this.#unacknowledged + from) >>> 0, tcpFlag.ack | push), length, (into) => this.#queue.copy(from, into));
  }

  /** From the oldest byte that the guest did not acknowledge: a segment, or a byte that probes a closed window. */
  #sendAgain(): void {
    const sent = (this.#next - this.#unacknowledged) >>> 0;
    const length = Math.min(this.#queue.length, Math.max(1, Math.min(this.#window, this.#segmentBytes)));
    if (length > 0) {
      this.#sendBytes(0, length);
      if (sent < length) this.#next = (this.#unacknowledged + length) >>> 0;
    } else if (sent > 0) {
      this.#output.send(this.#header(this.#unacknowledged, tcpFlag.fin | tcpFlag.ack), 0, nothing);
    }
    this.#duplicates = 0;
  }

  #sendSyn(flags: number): void {
    const scaled = (flags & tcpFlag.ack) === 0 || this.#scaled;
    this.#output.send({ ...this.#header(this.#first, flags), window: 0xffff, maximumSegment: this.#segmentMaximum, windowScale: scaled ? WINDOW_SCALE : null }, 0, nothing);
    this.#receiveEdge = (this.#receiveNext + 0xffff) >>> 0;
    this.#next = (this.#first + 1) >>> 0;
    this.#unacknowledged = this.#state === 'syn-sent' ? this.#first : this.#next;
  }

  #sendAck(): void {
    this.#owed = !this.#output.send(this.#header(this.#next, tcpFlag.ack), 0, nothing);
  }

  #header(sequence: number, flags: number): Omit<TcpSegment, 'data'> {
    const shift = this.#scaled ? WINDOW_SCALE : 0;
    const window = Math.min(this.#room() >> shift, 0xffff);
    this.#receiveEdge = (this.#receiveNext + window * 2 ** shift) >>> 0;
    this.#owed = false;
    const acknowledgement = (flags & tcpFlag.ack) === 0 ? 0 : this.#receiveNext;
    return {
      sourcePort: this.#ports.peer, destinationPort: this.#ports.guest, sequence, acknowledgement, flags, window, maximumSegment: null, windowScale: null,
    };
  }

  /** Bytes that the host may still take. A window once offered is not taken back. */
  #room(): number {
    return Math.max(0, RECEIVE_BYTES - this.#backlog, (this.#receiveEdge - this.#receiveNext) | 0);
  }

  // ---- Ends ---------------------------------------------------------------------------------------------------------

  #over(): boolean {
    return this.#guestEnded && this.#hostEnded && this.#queue.length === 0 && this.#unacknowledged === this.#next;
  }

  #finish(): void {
    if (this.#over()) this.#output.setTimer(LINGER_MS);
  }

  #reset(): void {
    if (this.#state !== 'listening') {
      const header = this.#header(this.#next, tcpFlag.rst | tcpFlag.ack);
      this.#output.send(header, 0, nothing);
    }
    this.abandon();
  }

  #close(): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#queue.clear();
    this.#output.setTimer(null);
    this.#output.closed();
  }

  #arm(): void {
    const waiting = this.#state !== 'established' || this.#unacknowledged !== this.#next || this.#queue.length > 0;
    this.#output.setTimer(waiting ? Math.min(RETRY_MAXIMUM_MS, RETRY_MS * 2 ** this.#retries) : null);
  }
}
