/*
 * Runs single instructions on this processor. Arguments: input file, output file (both mapped; layouts in layout.ts).
 *
 * A case is entered by returning from a signal handler with its registers in the signal frame, and left by the next signal: the trap of
 * TF, the INT3 that fills the code behind the instruction, or the fault. So any instruction may run, in 64-bit and in 32-bit code, with
 * any stack pointer. The handler uses no thread-local storage: FS belongs to the case.
 */
#define _GNU_SOURCE
#include <asm/ldt.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#define PAGE 4096
#define LINE 64
#define LINES_MAX 49

struct region { uint64_t address; uint32_t pages, protection; };
struct header {
  uint32_t cases, regions, case_size, result_size;
  struct region region[16];
  uint8_t reserved[752];
  uint32_t descriptors, reserved2[3];
  struct user_desc descriptor[16];
};

struct test {
  uint64_t gpr[16], rip, flags, fs_base, gs_base;
  uint16_t cs, ss, ds, es, fs, gs;
  uint8_t length, reserved[3];
  uint8_t code[16];
  uint8_t fx[512];
  uint64_t code_address;
  uint64_t patch_address;
  uint32_t patch_length, reserved2;
  uint8_t patch[744];
  uint64_t patch2_address;
  uint32_t patch2_length;
  uint8_t patch2[52];
};

struct line { uint32_t index; uint8_t data[LINE]; };
struct result {
  uint64_t gpr[16], rip, flags, fs_base, gs_base;
  uint16_t cs, ss, ds, es, fs, gs;
  uint32_t done;
  uint32_t signal, trap;
  uint64_t error;
  uint8_t fx[512];
  uint64_t address;
  uint32_t lines, reserved;
  struct line line[LINES_MAX];
  uint8_t padding[44];
};

_Static_assert(sizeof(struct test) == 1536, "layout.ts names these sizes");
_Static_assert(sizeof(struct result) == 4096, "layout.ts names these sizes");

static struct header *header;
static uint8_t *pattern, *expected, *memory;
static struct test *tests;
static struct result *results;
static uint32_t total, current, ticked;
static int running;
static uint64_t own_fs;
static sigset_t no_signals;
static mcontext_t own;
static uint8_t own_fx[512];

/* General registers of the frame in the encoding's order. */
static const int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
  REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

/* Offset in `memory` of an address, or -1. */
static int64_t place(uint64_t address) {
  uint64_t before = 0;
  for (uint32_t i = 0; i < header->regions; i++) {
    uint64_t size = (uint64_t)header->region[i].pages * PAGE;
    if (address >= header->region[i].address && address < header->region[i].address + size) return before + (address - header->region[i].address);
    before += size;
  }
  return -1;
}

static void put(uint64_t address, const uint8_t *data, uint32_t length) {
  for (uint32_t i = 0; i < length; i++) {
    int64_t at = place(address + i);
    if (at >= 0) memory[at] = expected[at] = data[i];
  }
}

static void revert(uint64_t address, uint32_t length) {
  for (uint32_t i = 0; i < length; i++) {
    int64_t at = place(address + i);
    if (at >= 0) memory[at] = expected[at] = pattern[at];
  }
}

static void selectors(struct test *test) {
  __asm__ volatile("mov %0, %%ds; mov %1, %%es; mov %2, %%fs; mov %3, %%gs"
    : : "r"((uint32_t)test->ds), "r"((uint32_t)test->es), "r"((uint32_t)test->fs), "r"((uint32_t)test->gs));
  if (test->fs == 0) __asm__ volatile("wrfsbase %0" : : "r"(test->fs_base));
  if (test->gs == 0) __asm__ volatile("wrgsbase %0" : : "r"(test->gs_base));
}

static void record(struct result *out, int number, ucontext_t *context) {
  mcontext_t *m = &context->uc_mcontext;
  for (int i = 0; i < 16; i++) out->gpr[i] = m->gregs[order[i]];
  out->rip = m->gregs[REG_RIP];
  out->flags = m->gregs[REG_EFL];
  out->cs = m->gregs[REG_CSGSFS] & 0xffff;
  out->ss = (uint64_t)m->gregs[REG_CSGSFS] >> 48;
  uint32_t ds, es, fs, gs;
  __asm__ volatile("mov %%ds, %0; mov %%es, %1; mov %%fs, %2; mov %%gs, %3" : "=r"(ds), "=r"(es), "=r"(fs), "=r"(gs));
  out->ds = ds;
  out->es = es;
  out->fs = fs;
  out->gs = gs;
  __asm__ volatile("rdfsbase %0; rdgsbase %1" : "=r"(out->fs_base), "=r"(out->gs_base));
  out->signal = number;
  out->trap = m->gregs[REG_TRAPNO];
  out->error = m->gregs[REG_ERR];
  out->address = m->gregs[REG_CR2];
  memcpy(out->fx, m->fpregs, 416);
  uint32_t lines = 0;
  for (uint32_t page = 0; page < total; page += PAGE) {
    if (memcmp(memory + page, expected + page, PAGE) == 0) continue;
    for (uint32_t at = page; at < page + PAGE; at += LINE) {
      if (memcmp(memory + at, expected + at, LINE) == 0) continue;
      if (lines < LINES_MAX) {
        out->line[lines].index = at / LINE;
        memcpy(out->line[lines].data, memory + at, LINE);
      }
      lines++;
      memcpy(memory + at, expected + at, LINE);
    }
  }
  out->lines = lines;
  out->done = 1;
}

static void enter(struct test *test, ucontext_t *context) {
  mcontext_t *m = &context->uc_mcontext;
  put(test->patch_address, test->patch, test->patch_length);
  put(test->patch2_address, test->patch2, test->patch2_length);
  put(test->code_address, test->code, test->length);
  for (int i = 0; i < 16; i++) m->gregs[order[i]] = test->gpr[i];
  m->gregs[REG_RIP] = test->rip;
  m->gregs[REG_EFL] = test->flags;
  m->gregs[REG_CSGSFS] = test->cs | ((uint64_t)test->ss << 48);
  m->gregs[REG_CR2] = 0;
  context->uc_flags |= 6; /* SS is restored as it is */
  context->uc_sigmask = no_signals;
  memcpy(m->fpregs, test->fx, 416);
  /* XSTATE_BV behind the legacy area: x87 and SSE are present. */
  ((uint64_t *)m->fpregs)[64] |= 3;
  selectors(test);
}

static void leave(struct test *test) {
  revert(test->patch_address, test->patch_length);
  revert(test->patch2_address, test->patch2_length);
  revert(test->code_address, test->length);
}

static void handler(int number, siginfo_t *info, void *context_) {
  ucontext_t *context = context_;
  (void)info;
  /* The kernel leaves NT, AC and ID as the case had them, and the next case would find NT and ID. */
  __asm__ volatile("pushfq; andl $~0x244000, (%%rsp); popfq" : : : "cc", "memory");
  if (number == SIGPROF) {
    /* Twice in the same case: it hangs. Time that the process only waits for, as a host asks for locks across cache lines, does not count. */
    if (!running || ticked != current) {
      ticked = current;
      return;
    }
  }
  if (!running) {
    memcpy(&own, &context->uc_mcontext, sizeof own);
    memcpy(own_fx, context->uc_mcontext.fpregs, 512);
    running = 1;
  } else {
    record(&results[current], number, context);
    leave(&tests[current]);
    current++;
  }
  if (current < header->cases) {
    enter(&tests[current], context);
    return;
  }
  running = 0;
  static struct test plain = {.fs = 0, .gs = 0};
  plain.fs_base = own_fs;
  selectors(&plain);
  fpregset_t area = context->uc_mcontext.fpregs;
  memcpy(&context->uc_mcontext, &own, sizeof own);
  context->uc_mcontext.fpregs = area;
  memcpy(area, own_fx, 416);
}

static void *map(const char *path, int write, uint64_t *size) {
  int file = open(path, write ? O_RDWR : O_RDONLY);
  struct stat status;
  if (file < 0 || fstat(file, &status) != 0) {
    perror(path);
    exit(2);
  }
  *size = status.st_size;
  void *at = mmap(0, status.st_size, PROT_READ | (write ? PROT_WRITE : 0), write ? MAP_SHARED : MAP_PRIVATE, file, 0);
  if (at == MAP_FAILED) {
    perror(path);
    exit(2);
  }
  return at;
}

/* Says which optional parts of a case this machine allows: segments of our own, memory in the first 64 KiB. */
static int probe(void) {
  struct user_desc descriptor = {.entry_number = 0, .limit = 0xffff, .contents = 2};
  if (syscall(SYS_modify_ldt, 0x11, &descriptor, sizeof descriptor) == 0) puts("segments");
  if (mmap((void *)0x8000, 2 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == (void *)0x8000) puts("low");
  return 0;
}

int main(int count, char **arguments) {
  if (count < 3) return probe();
  if (!(getauxval(AT_HWCAP2) & 2)) {
    fputs("the kernel does not enable FSGSBASE\n", stderr);
    return 3;
  }
  uint64_t size;
  header = map(arguments[1], 0, &size);
  results = map(arguments[2], 1, &size);
  if (header->case_size != sizeof(struct test) || header->result_size != sizeof(struct result)) return 4;
  for (uint32_t i = 0; i < header->regions; i++) total += header->region[i].pages * PAGE;
  pattern = (uint8_t *)header + PAGE;
  tests = (struct test *)(pattern + total);
  expected = malloc(total);
  memcpy(expected, pattern, total);
  int file = memfd_create("memory", 0);
  if (file < 0 || ftruncate(file, total) != 0) return 5;
  memory = mmap(0, total, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  memcpy(memory, pattern, total);
  off_t at = 0;
  for (uint32_t i = 0; i < header->regions; i++) {
    struct region *r = &header->region[i];
    uint64_t bytes = (uint64_t)r->pages * PAGE;
    void *mapped = mmap((void *)r->address, bytes, r->protection, MAP_SHARED | MAP_FIXED_NOREPLACE | MAP_POPULATE, file, at);
    if (mapped != (void *)r->address) {
      perror("a region of the test memory");
      return 6;
    }
    at += bytes;
  }
  for (uint32_t i = 0; i < header->descriptors; i++) {
    if (syscall(SYS_modify_ldt, 0x11, &header->descriptor[i], sizeof(struct user_desc)) != 0) {
      perror("modify_ldt");
      return 8;
    }
  }
  sigemptyset(&no_signals);
  static uint8_t stack[1 << 18] __attribute__((aligned(64)));
  stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
  sigaltstack(&alternate, 0);
  struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  sigfillset(&action.sa_mask);
  const int numbers[] = {SIGSEGV, SIGILL, SIGFPE, SIGBUS, SIGTRAP, SIGPROF};
  for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++) sigaction(numbers[i], &action, 0);
  struct itimerval timer = {{0, 500000}, {0, 500000}};
  setitimer(ITIMER_PROF, &timer, 0);
  __asm__ volatile("rdfsbase %0" : "=r"(own_fs));
  __asm__ volatile("int3" : : : "memory");
  return current == header->cases ? 0 : 7;
}
