import type { ReactNode } from 'react';
import type { Vm } from '../../core/contract/index.ts';
import { RightClickMenu } from '../controls/menu.tsx';
import { Sparkline } from '../controls/sparkline.tsx';
import { StateDot } from '../controls/state-dot.tsx';
import { bytesWithUnit } from '../state/format.ts';
import { select, useLayout } from '../state/layout.ts';
import { isAlive, useLibrary } from '../state/library.ts';
import { endedBadly, stateLine, startVm } from '../vm/actions.ts';
import { vmMenu } from '../vm/menu.ts';
import { markMatches } from './filter.ts';

interface VmRowProps {
  readonly vm: Vm;
  readonly selected: boolean;
  readonly tabbable: boolean;
  readonly draggable: boolean;
  readonly onDrag: () => void;
  readonly onDrop: () => void;
}

const SPARK_SAMPLES = 40;

/** One VM of the list; a double click or Enter starts it. */
export function VmRow({ vm, selected, tabbable, draggable, onDrag, onDrop }: VmRowProps): ReactNode {
  const search = useLayout((state) => state.search);
  const samples = useLibrary((state) => state.metrics[vm.id]);
  const { tags } = vm.config;
  const memory = bytesWithUnit(vm.config.memoryBytes);
  const start = (): void => { if (!isAlive(vm)) void startVm(vm); };
  return (
    <RightClickMenu rows={vmMenu(vm)}>
      <div id={`vm-${vm.id}`} className="vm-row" role="option" aria-selected={selected} tabIndex={tabbable ? 0 : -1} draggable={draggable}
        aria-label={[vm.config.name, stateLine(vm), ...(tags.length > 0 ? [`tags ${tags.join(' ')}`] : [])].join(', ')} onClick={() => select(vm.id)} onDoubleClick={start} onContextMenu={() => select(vm.id)}
        onDragStart={onDrag} onDragOver={(event) => event.preventDefault()} onDrop={onDrop}
        onKeyDown={(event) => { if (event.key === 'Enter' && !event.ctrlKey && !event.metaKey) start(); }}>
        <StateDot state={vm.state} />
        <div style={{ minWidth: 0 }}>
          <div className="name">
            {markMatches(vm.config.name, search).map(({ text, marked }, index) => (marked ? <mark key={index}>{text}</mark> : text))}
          </div>
          <div className={`detail ${endedBadly(vm) ? 'failed' : ''}`}>{stateLine(vm)} · {memory.value} {memory.unit}</div>
          {tags.length > 0 && <div className="tags" title={tags.join(' ')} aria-hidden>{tags.map((tag) => <span key={tag} className="tag">{tag}</span>)}</div>}
        </div>
        {isAlive(vm) && samples && (
          <Sparkline values={samples.map((sample) => sample.cpuPercent)} top={100} width={48} height={18} capacity={SPARK_SAMPLES}
            label={`Processor use, now ${Math.round(samples.at(-1)?.cpuPercent ?? 0)} %`} />
        )}
      </div>
    </RightClickMenu>
  );
}
