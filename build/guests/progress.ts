/** A progress bar on a terminal; plain lines elsewhere. */

const width = 28;

/** Shows one step at a time: `report` moves the bar, `done` ends the line. */
export class ProgressBar {
  private readonly stream: NodeJS.WriteStream;
  private title = '';

  constructor(stream: NodeJS.WriteStream) {
    this.stream = stream;
  }

  begin(title: string): void {
    this.title = title;
    if (this.stream.isTTY) this.report(0);
    else this.stream.write(`${title}\n`);
  }

  report(percent: number): void {
    if (!this.stream.isTTY) return;
    const filled = Math.round((Math.min(100, Math.max(0, percent)) / 100) * width);
    this.stream.write(`\r[${'#'.repeat(filled)}${'.'.repeat(width - filled)}] ${String(Math.round(percent)).padStart(3)} %  ${this.title}\u001b[K`);
  }

  /** A line of text between two steps. */
  note(text: string): void {
    this.stream.write(`${text}\n`);
  }

  done(): void {
    if (!this.stream.isTTY) return;
    this.report(100);
    this.stream.write('\n');
  }
}
