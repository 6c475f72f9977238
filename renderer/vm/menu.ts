/** The menu of a VM: the same behind a right click in the library and behind the button in its head. */
import { Camera, CopyPlus, FolderInput, Moon, FileOutput, Pause, Pencil, Play, Power, RotateCcw, SlidersHorizontal, Trash2, Zap } from 'lucide-react';
import type { Vm } from '../../core/contract/index.ts';
import { shortcutOf } from '../commands/commands.ts';
import type { MenuAction, MenuRow } from '../controls/menu.tsx';
import { changeVmLayout, openDialog, select } from '../state/layout.ts';
import { possibleActions, requestStop, startVm, suspendVm, togglePause } from './actions.ts';

export function vmMenu(vm: Vm): readonly MenuRow[] {
  const can = possibleActions(vm);
  const row = (label: string, icon: MenuAction['icon'], run: () => void, more: Partial<MenuAction> = {}): MenuAction =>
    ({ kind: 'action', label, ...(icon ? { icon } : {}), run, ...more });
  return [
    row('Start', Play, () => { select(vm.id); void startVm(vm); }, { shortcut: shortcutOf('start'), disabled: !can.has('start') }),
    vm.state === 'paused' || vm.state === 'suspended'
      ? row('Resume', Play, () => togglePause(vm), { shortcut: shortcutOf('resume') })
      : row('Pause', Pause, () => togglePause(vm), { shortcut: shortcutOf('pause'), disabled: !can.has('pause') }),
    row('Suspend', Moon, () => void suspendVm(vm), { shortcut: shortcutOf('suspend'), disabled: !can.has('suspend') }),
    row('Take snapshot…', Camera, () => openDialog({ kind: 'take-snapshot', vm: vm.id }), { shortcut: shortcutOf('take-snapshot') }),
    row('Stop…', Power, () => requestStop(vm), { shortcut: shortcutOf('stop'), disabled: !can.has('stop') }),
    row('Reset…', RotateCcw, () => openDialog({ kind: 'reset', vm: vm.id }), { shortcut: shortcutOf('reset'), disabled: !can.has('reset') }),
    row('Force stop…', Zap, () => openDialog({ kind: 'force-stop', vm: vm.id }), { disabled: !can.has('force-stop') }),
    { kind: 'rule' },
    row('Rename…', Pencil, () => openDialog({ kind: 'rename', vm: vm.id }), { shortcut: shortcutOf('rename') }),
    row('Clone…', CopyPlus, () => openDialog({ kind: 'clone', vm: vm.id }), { shortcut: shortcutOf('clone') }),
    row('Export…', FileOutput, () => openDialog({ kind: 'export', vm: vm.id })),
    row('Group and tags…', FolderInput, () => openDialog({ kind: 'group', vm: vm.id }), { shortcut: shortcutOf('group') }),
    row('Edit configuration', SlidersHorizontal, () => { select(vm.id); changeVmLayout(vm.id, { tab: 'configuration' }); }, { shortcut: shortcutOf('configuration') }),
    { kind: 'rule' },
    row('Delete…', Trash2, () => openDialog({ kind: 'remove', vm: vm.id }), { shortcut: shortcutOf('remove'), danger: true, disabled: !can.has('remove') }),
  ];
}
