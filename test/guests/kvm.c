/*
 * Runs 16-bit, 32-bit and 64-bit code in a KVM guest: each counts to 1000 by writes to a port, every one an exit, and halts.
 * With an argument, counts in 64-bit code without an end, and prints every so many exits what the guest has counted to.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define CODE 0x1000
#define TABLES 0x2000
#define MEMORY 0x10000

static const unsigned char real_code[] = {0x31, 0xc0, 0x40, 0xe7, 0x10, 0x3d, 0xe8, 0x03, 0x75, 0xf8, 0xf4};
static const unsigned char protected_code[] = {0x31, 0xc0, 0x40, 0xe7, 0x10, 0x3d, 0xe8, 0x03, 0, 0, 0x75, 0xf6, 0xf4};
static const unsigned char long_code[] = {0x31, 0xc0, 0xff, 0xc0, 0xe7, 0x10, 0x3d, 0xe8, 0x03, 0, 0, 0x75, 0xf5, 0xf4};

/* inc eax; out 0x10, eax; jmp */
static const unsigned char endless_code[] = {0x31, 0xc0, 0xff, 0xc0, 0xe7, 0x10, 0xeb, 0xfa};

static unsigned char *memory;
static unsigned every;
static int system_fd;

static void flat(struct kvm_segment *segment, int type, int big, int wide) {
  memset(segment, 0, sizeof *segment);
  segment->limit = 0xffffffff;
  segment->selector = type & 8 ? 8 : 16;
  segment->type = type;
  segment->present = segment->s = segment->g = 1;
  segment->db = big;
  segment->l = wide;
}

static void set_mode(struct kvm_sregs *s, int bits) {
  s->cs.base = s->cs.selector = 0;
  if (bits == 16) return;
  flat(&s->cs, 11, bits == 32, bits == 64);
  flat(&s->ds, 3, 1, 0);
  s->es = s->ss = s->fs = s->gs = s->ds;
  s->cr0 |= 1;
  if (bits == 32) return;
  *(unsigned long *)(memory + TABLES) = (TABLES + 0x1000) | 3;
  *(unsigned long *)(memory + TABLES + 0x1000) = (TABLES + 0x2000) | 3;
  *(unsigned long *)(memory + TABLES + 0x2000) = 0x83;
  s->cr3 = TABLES;
  s->cr4 |= 0x20;
  s->cr0 |= 0x80000000;
  s->efer |= 0x500;
}

static int run(int bits, const unsigned char *code, int length) {
  memset(memory, 0, MEMORY);
  memcpy(memory + CODE, code, length);
  int machine = ioctl(system_fd, KVM_CREATE_VM, 0);
  struct kvm_userspace_memory_region region = {0, 0, 0, MEMORY, (unsigned long)memory};
  if (machine < 0 || ioctl(machine, KVM_SET_USER_MEMORY_REGION, &region) < 0) return perror("KVM_CREATE_VM"), 1;
  int cpu = ioctl(machine, KVM_CREATE_VCPU, 0);
  struct kvm_run *state = mmap(0, ioctl(system_fd, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE, MAP_SHARED, cpu, 0);
  struct kvm_sregs s;
  struct kvm_regs registers = {.rip = CODE, .rflags = 2};
  ioctl(cpu, KVM_GET_SREGS, &s);
  set_mode(&s, bits);
  if (ioctl(cpu, KVM_SET_SREGS, &s) < 0 || ioctl(cpu, KVM_SET_REGS, &registers) < 0) return perror("registers"), 1;
  for (int exits = 0;; exits++) {
    if (ioctl(cpu, KVM_RUN, 0) < 0) return perror("KVM_RUN"), 1;
    if (state->exit_reason == KVM_EXIT_HLT) return printf("L2 %d-bit: %d exits\n", bits, exits), 0;
    if (state->exit_reason != KVM_EXIT_IO) return printf("L2 %d-bit: exit reason %d\n", bits, state->exit_reason), 1;
    unsigned value = *(unsigned *)((char *)state + state->io.data_offset);
    if (every != 0 && value % every == 0) printf("L2 %u\n", value / every), fflush(stdout);
    if (value != exits + 1u) return printf("L2 %d-bit: wrong value\n", bits), 1;
  }
}

int main(int count, char **arguments) {
  system_fd = open("/dev/kvm", O_RDWR);
  if (system_fd < 0) return perror("/dev/kvm"), 1;
  memory = mmap(0, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  every = count > 1 ? atoi(arguments[1]) : 0;
  if (every != 0) return run(64, endless_code, sizeof endless_code);
  return run(16, real_code, sizeof real_code) | run(32, protected_code, sizeof protected_code) | run(64, long_code, sizeof long_code);
}
