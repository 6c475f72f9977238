/** The database's history: one row a version, in order and without gaps. A row that was released is never changed. */

export interface Migration {
  /** `user_version` after this migration. */
  readonly version: number;
  readonly what: string;
  readonly statements: readonly string[];
}

export const migrations: readonly Migration[] = [
  {
    version: 1,
    what: 'VMs, their boot modules and serial ports, the audit trail, settings',
    statements: [
      `CREATE TABLE vms (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL COLLATE NOCASE UNIQUE,
        position INTEGER NOT NULL,
        memory_bytes INTEGER NOT NULL CHECK (memory_bytes > 0),
        cpus INTEGER NOT NULL CHECK (cpus > 0),
        cpu_model TEXT NOT NULL,
        jit TEXT NOT NULL CHECK (jit IN ('off', 'on', 'always')),
        clock TEXT NOT NULL CHECK (clock IN ('wall', 'instructions')),
        boot_kind TEXT NOT NULL CHECK (boot_kind IN ('monitor', 'image')),
        kernel TEXT,
        initrd TEXT,
        append TEXT NOT NULL DEFAULT '',
        notes TEXT NOT NULL DEFAULT '',
        state TEXT NOT NULL CHECK (state IN ('stopped', 'starting', 'running', 'paused', 'stopping', 'crashed')),
        exit_reason TEXT,
        exit_detail TEXT,
        exit_value INTEGER,
        exit_at INTEGER,
        created_at INTEGER NOT NULL,
        started_at INTEGER,
        CHECK (boot_kind = 'monitor' OR kernel IS NOT NULL)
      ) STRICT`,
      `CREATE TABLE boot_modules (
        vm_id TEXT NOT NULL REFERENCES vms (id) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        path TEXT NOT NULL,
        command_line TEXT NOT NULL,
        PRIMARY KEY (vm_id, position)
      ) STRICT, WITHOUT ROWID`,
      `CREATE TABLE serial_ports (
        vm_id TEXT NOT NULL REFERENCES vms (id) ON DELETE CASCADE,
        port INTEGER NOT NULL CHECK (port BETWEEN 0 AND 3),
        attach TEXT NOT NULL CHECK (attach IN ('console', 'none')),
        label TEXT NOT NULL,
        PRIMARY KEY (vm_id, port)
      ) STRICT, WITHOUT ROWID`,
      // The trail outlives its VM: the name is kept beside the reference.
      `CREATE TABLE events (
        id INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        vm_id TEXT REFERENCES vms (id) ON DELETE SET NULL,
        vm_name TEXT,
        kind TEXT NOT NULL,
        detail TEXT NOT NULL
      ) STRICT`,
      'CREATE INDEX events_by_vm ON events (vm_id, id)',
      'CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID',
    ],
  },
  {
    version: 2,
    what: 'a remapping unit for the guest',
    statements: [`ALTER TABLE vms ADD COLUMN iommu TEXT NOT NULL DEFAULT 'off' CHECK (iommu IN ('off', 'on'))`],
  },
  {
    version: 3,
    what: 'snapshots, and the chunks of memory that they share',
    statements: [
      // Ids are never used again: a map that outlived its segment must not find another one under its number.
      `CREATE TABLE segments (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        bytes INTEGER NOT NULL,
        chunks INTEGER NOT NULL,
        created_at INTEGER NOT NULL
      ) STRICT`,
      `CREATE TABLE chunks (
        hash BLOB PRIMARY KEY,
        segment_id INTEGER NOT NULL REFERENCES segments (id),
        position INTEGER NOT NULL
      ) STRICT, WITHOUT ROWID`,
      'CREATE INDEX chunks_by_segment ON chunks (segment_id)',
      `CREATE TABLE snapshots (
        id TEXT PRIMARY KEY,
        vm_id TEXT NOT NULL REFERENCES vms (id) ON DELETE CASCADE,
        parent_id TEXT REFERENCES snapshots (id) ON DELETE SET NULL,
        kind TEXT NOT NULL CHECK (kind IN ('snapshot', 'suspend')),
        name TEXT NOT NULL,
        notes TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        power TEXT NOT NULL CHECK (power IN ('off', 'paused', 'running')),
        memory_bytes INTEGER NOT NULL,
        used_bytes INTEGER NOT NULL,
        pause_ms REAL NOT NULL,
        screen TEXT NOT NULL,
        config TEXT NOT NULL,
        state BLOB NOT NULL,
        map BLOB NOT NULL
      ) STRICT`,
      'CREATE INDEX snapshots_by_vm ON snapshots (vm_id, created_at)',
      // A VM is suspended once at most.
      "CREATE UNIQUE INDEX suspended_vms ON snapshots (vm_id) WHERE kind = 'suspend'",
      `CREATE TABLE snapshot_consoles (
        snapshot_id TEXT NOT NULL REFERENCES snapshots (id) ON DELETE CASCADE,
        port INTEGER NOT NULL CHECK (port BETWEEN 0 AND 3),
        data BLOB NOT NULL,
        PRIMARY KEY (snapshot_id, port)
      ) STRICT, WITHOUT ROWID`,
      // The reference counts: a segment without a row here may be given back.
      `CREATE TABLE snapshot_segments (
        snapshot_id TEXT NOT NULL REFERENCES snapshots (id) ON DELETE CASCADE,
        segment_id INTEGER NOT NULL REFERENCES segments (id),
        chunks INTEGER NOT NULL,
        PRIMARY KEY (snapshot_id, segment_id)
      ) STRICT, WITHOUT ROWID`,
      'CREATE INDEX snapshots_by_segment ON snapshot_segments (segment_id)',
      'ALTER TABLE vms ADD COLUMN snapshot_id TEXT REFERENCES snapshots (id) ON DELETE SET NULL',
    ],
  },
  {
    version: 4,
    what: 'assignable devices and the VMs that own them',
    statements: [
      // One row a resource, so it has one owner; it outlives its VM and is free then.
      `CREATE TABLE devices (
        id TEXT PRIMARY KEY,
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        vendor TEXT NOT NULL DEFAULT '',
        product TEXT NOT NULL DEFAULT '',
        serial TEXT NOT NULL DEFAULT '',
        path TEXT,
        slot INTEGER NOT NULL UNIQUE CHECK (slot BETWEEN 0 AND 255),
        vm_id TEXT REFERENCES vms (id) ON DELETE SET NULL,
        assigned_at INTEGER
      ) STRICT, WITHOUT ROWID`,
    ],
  },
  {
    version: 5,
    what: 'firmware in place of a direct boot',
    statements: [`ALTER TABLE vms ADD COLUMN firmware TEXT NOT NULL DEFAULT ''`],
  },
  {
    version: 6,
    what: 'disks and network interfaces',
    statements: [
      // Buses and models grow with the devices there are: the contract says which are known.
      `CREATE TABLE disks (
        vm_id TEXT NOT NULL REFERENCES vms (id) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        path TEXT NOT NULL,
        kind TEXT NOT NULL,
        bus TEXT NOT NULL,
        format TEXT NOT NULL,
        read_only INTEGER NOT NULL CHECK (read_only IN (0, 1)),
        PRIMARY KEY (vm_id, position)
      ) STRICT, WITHOUT ROWID`,
      `CREATE TABLE networks (
        vm_id TEXT NOT NULL REFERENCES vms (id) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        model TEXT NOT NULL,
        attach TEXT NOT NULL,
        mac TEXT NOT NULL,
        host_loopback INTEGER NOT NULL CHECK (host_loopback IN (0, 1)),
        capture TEXT,
        PRIMARY KEY (vm_id, position)
      ) STRICT, WITHOUT ROWID`,
      `CREATE TABLE port_forwards (
        vm_id TEXT NOT NULL,
        network INTEGER NOT NULL,
        position INTEGER NOT NULL,
        protocol TEXT NOT NULL,
        host_address TEXT NOT NULL,
        host_port INTEGER NOT NULL,
        guest_port INTEGER NOT NULL,
        PRIMARY KEY (vm_id, network, position),
        FOREIGN KEY (vm_id, network) REFERENCES networks (vm_id, position) ON DELETE CASCADE
      ) STRICT, WITHOUT ROWID`,
    ],
  },
  {
    version: 7,
    what: 'a port for GDB',
    statements: [
      'ALTER TABLE vms ADD COLUMN gdb_port INTEGER CHECK (gdb_port BETWEEN 1 AND 65535)', 'ALTER TABLE vms ADD COLUMN gdb_wait INTEGER NOT NULL DEFAULT 0 CHECK (gdb_wait IN (0, 1))',
    ],
  },
  {
    version: 8,
    what: 'a display',
    statements: [`ALTER TABLE vms ADD COLUMN display TEXT NOT NULL DEFAULT 'none'`],
  },
  {
    version: 9,
    what: 'hot-plug slots',
    statements: ['ALTER TABLE disks ADD COLUMN slot INTEGER CHECK (slot >= 1)', 'ALTER TABLE networks ADD COLUMN slot INTEGER CHECK (slot >= 1)'],
  },
  {
    version: 10,
    what: 'how processors are arranged',
    statements: ['ALTER TABLE vms ADD COLUMN topology TEXT'],
  },
  {
    version: 11,
    what: "USB, and caching mode of the guest's remapping unit",
    statements: [
      `ALTER TABLE vms ADD COLUMN usb TEXT NOT NULL DEFAULT 'off'`, 'ALTER TABLE vms ADD COLUMN caching_mode INTEGER NOT NULL DEFAULT 0 CHECK (caching_mode IN (0, 1))',
    ],
  },
  {
    version: 12,
    what: 'switches between VMs, and cables that are pulled',
    statements: [
      `ALTER TABLE networks ADD COLUMN switch_name TEXT NOT NULL DEFAULT ''`, 'ALTER TABLE networks ADD COLUMN switch_dhcp INTEGER NOT NULL DEFAULT 0 CHECK (switch_dhcp IN (0, 1))',
      'ALTER TABLE networks ADD COLUMN link_up INTEGER NOT NULL DEFAULT 1 CHECK (link_up IN (0, 1))',
    ],
  },
  {
    version: 13,
    what: 'disks of snapshots, and what VMs have written over them',
    statements: [
      // By the path of the configuration; image is that path with its links resolved. A stamp says that the image belongs to snapshots as it is.
      `CREATE TABLE disk_states (
        vm_id TEXT NOT NULL REFERENCES vms (id) ON DELETE CASCADE,
        path TEXT NOT NULL,
        image TEXT NOT NULL,
        size INTEGER NOT NULL,
        stamp_size INTEGER,
        stamp_ms REAL,
        map BLOB NOT NULL,
        layers TEXT NOT NULL,
        PRIMARY KEY (vm_id, path)
      ) STRICT`,
      'CREATE INDEX disk_states_by_image ON disk_states (image)',
      `CREATE TABLE disk_state_segments (
        vm_id TEXT NOT NULL,
        path TEXT NOT NULL,
        segment_id INTEGER NOT NULL REFERENCES segments (id),
        PRIMARY KEY (vm_id, path, segment_id),
        FOREIGN KEY (vm_id, path) REFERENCES disk_states (vm_id, path) ON DELETE CASCADE
      ) STRICT, WITHOUT ROWID`,
      'CREATE INDEX disk_states_by_segment ON disk_state_segments (segment_id)',
      `CREATE TABLE snapshot_disks (
        snapshot_id TEXT NOT NULL REFERENCES snapshots (id) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        path TEXT NOT NULL,
        image TEXT NOT NULL,
        size INTEGER NOT NULL,
        stamp_size INTEGER NOT NULL,
        stamp_ms REAL NOT NULL,
        map BLOB NOT NULL,
        PRIMARY KEY (snapshot_id, position)
      ) STRICT`,
      'CREATE INDEX snapshot_disks_by_image ON snapshot_disks (image)',
    ],
  },
  {
    version: 14,
    what: 'paravirtual devices',
    statements: [
      'ALTER TABLE vms ADD COLUMN balloon INTEGER NOT NULL DEFAULT 0 CHECK (balloon IN (0, 1))', 'ALTER TABLE vms ADD COLUMN vsock TEXT', `ALTER TABLE vms ADD COLUMN shares TEXT NOT NULL DEFAULT '[]'`,
      `ALTER TABLE serial_ports ADD COLUMN device TEXT NOT NULL DEFAULT 'uart'`,
    ],
  },
  {
    version: 15,
    what: "KVM's paravirtual interface",
    statements: [`ALTER TABLE vms ADD COLUMN kvm TEXT NOT NULL DEFAULT 'off' CHECK (kvm IN ('off', 'on'))`],
  },
  {
    version: 16,
    what: 'VMs that start with the engine, snapshots that are taken by themselves',
    statements: [
      'ALTER TABLE vms ADD COLUMN autostart INTEGER NOT NULL DEFAULT 0 CHECK (autostart IN (0, 1))', 'ALTER TABLE vms ADD COLUMN schedule TEXT',
      'ALTER TABLE snapshots ADD COLUMN scheduled INTEGER NOT NULL DEFAULT 0 CHECK (scheduled IN (0, 1))',
    ],
  },
  {
    version: 17,
    what: 'lines of serial ports',
    statements: ['ALTER TABLE serial_ports ADD COLUMN line TEXT'],
  },
  {
    version: 18,
    what: 'what displays showed at snapshots',
    statements: ['ALTER TABLE snapshots ADD COLUMN picture BLOB'],
  },
  {
    version: 19,
    what: 'systems that firmware starts from the network',
    statements: [
      `ALTER TABLE networks ADD COLUMN net_boot TEXT NOT NULL DEFAULT 'off' CHECK (net_boot IN ('off', 'first', 'last'))`, `ALTER TABLE networks ADD COLUMN boot_file TEXT NOT NULL DEFAULT ''`,
    ],
  },
  {
    version: 20,
    what: 'groups of VMs',
    statements: [`ALTER TABLE vms ADD COLUMN group_name TEXT NOT NULL DEFAULT ''`],
  },
  {
    version: 21,
    what: 'tags of VMs',
    statements: [`ALTER TABLE vms ADD COLUMN tags TEXT NOT NULL DEFAULT '[]'`],
  },
  {
    version: 22,
    what: 'UEFI variables of snapshots without memory, and those that a VM has gone back to',
    statements: [
      'ALTER TABLE snapshots ADD COLUMN variables BLOB',
      `CREATE TABLE due_variables (
        vm_id TEXT PRIMARY KEY REFERENCES vms (id) ON DELETE CASCADE,
        data BLOB NOT NULL
      ) STRICT, WITHOUT ROWID`,
    ],
  },
];

export const newestVersion = migrations.at(-1)?.version ?? 0;
