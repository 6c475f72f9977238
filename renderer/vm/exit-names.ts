/** Basic exit reasons as the manual writes them, by the names that statistics use. @sdm 3D Appendix C */
const names: Readonly<Record<string, string>> = {
  'exception-or-nmi': 'Exception or NMI',
  'external-interrupt': 'External interrupt',
  'triple-fault': 'Triple fault',
  'init-signal': 'INIT signal',
  sipi: 'Start-up IPI',
  'interrupt-window': 'Interrupt window',
  'nmi-window': 'NMI window',
  'task-switch': 'Task switch',
  cpuid: 'CPUID',
  hlt: 'HLT',
  invd: 'INVD',
  invlpg: 'INVLPG',
  rdpmc: 'RDPMC',
  rdtsc: 'RDTSC',
  'control-register': 'Control-register access',
  'mov-dr': 'MOV DR',
  'io-instruction': 'I/O instruction',
  rdmsr: 'RDMSR',
  wrmsr: 'WRMSR',
  mwait: 'MWAIT',
  monitor: 'MONITOR',
  pause: 'PAUSE',
  'apic-access': 'APIC access',
  'ept-violation': 'EPT violation',
  'ept-misconfiguration': 'EPT misconfiguration',
  'preemption-timer': 'VMX-preemption timer expired',
  wbinvd: 'WBINVD',
  xsetbv: 'XSETBV',
};

export function exitName(reason: string): string {
  return names[reason] ?? reason;
}
