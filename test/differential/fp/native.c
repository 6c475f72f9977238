/*
 * Runs one floating-point instruction a case on this processor: FXRSTOR, the instruction, FXSAVE.
 * Reads cases from standard input until its end and writes as many results.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

struct input {
  uint8_t length, code[15];
  uint64_t rax, flags;
  uint8_t memory[128];
  uint8_t state[512];
};

struct output {
  uint64_t fault, rax, flags;
  uint8_t reserved[8];
  uint8_t memory[128];
  uint8_t state[512];
};

static struct input in __attribute__((aligned(64)));
static struct output out __attribute__((aligned(64)));
static uint8_t memory[128] __attribute__((aligned(64)));
static uint8_t clean[512] __attribute__((aligned(64)));
static uint8_t *code;
static uint64_t resume;

/* Keeps the state that the processor had at the fault and goes on behind the instruction. */
static void faulted(int number, siginfo_t *info, void *context) {
  ucontext_t *user = context;
  (void)info;
  out.fault = number;
  out.rax = user->uc_mcontext.gregs[REG_RAX];
  out.flags = user->uc_mcontext.gregs[REG_EFL];
  memcpy(out.state, user->uc_mcontext.fpregs, 512);
  memcpy(user->uc_mcontext.fpregs, clean, 512);
  user->uc_mcontext.gregs[REG_RIP] = resume;
}

static uint8_t *put(uint8_t *at, const char *bytes, int count) {
  memcpy(at, bytes, count);
  return at + count;
}

/* rdi: memory operand, rsi: input state, rdx: output state, rcx: output registers, r8: rax, r9: flags */
static void build(void) {
  uint8_t *at = code;
  at = put(at, "\x48\x0f\xae\x0e", 4);     /* fxrstor64 [rsi] */
  at = put(at, "\x4c\x89\xc0", 3);         /* mov rax, r8 */
  at = put(at, "\x41\x51\x9d", 3);         /* push r9; popfq */
  at = put(at, (char *)in.code, in.length);
  at = put(at, "\x9c\x41\x5a", 3);         /* pushfq; pop r10 */
  at = put(at, "\x48\x0f\xae\x02", 4);     /* fxsave64 [rdx] */
  at = put(at, "\x48\x89\x01", 3);         /* mov [rcx], rax */
  at = put(at, "\x4c\x89\x51\x08", 4);     /* mov [rcx+8], r10 */
  resume = (uint64_t)at;
  at = put(at, "\xdb\xe3\xfc\xc3", 4);     /* fninit; cld; ret */
}

int main(void) {
  struct sigaction action = {.sa_sigaction = faulted, .sa_flags = SA_SIGINFO};
  sigaction(SIGFPE, &action, 0);
  sigaction(SIGILL, &action, 0);
  sigaction(SIGSEGV, &action, 0);
  code = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (code == MAP_FAILED) return 1;
  __asm__ volatile("fninit; fxsave64 %0" : "=m"(clean));
  while (fread(&in, sizeof in, 1, stdin) == 1) {
    memset(&out, 0, sizeof out);
    memcpy(memory, in.memory, sizeof memory);
    build();
    register uint64_t rax __asm__("r8") = in.rax;
    register uint64_t flags __asm__("r9") = in.flags;
    __asm__ volatile("call *%[code]\n\tfxrstor64 %[clean]"
      : "+r"(rax), "+r"(flags)
      : [code] "b"(code), "D"(memory), "S"(in.state), "d"(out.state), "c"(&out.rax), [clean] "m"(clean)
      : "rax", "r10", "memory", "cc");
    memcpy(out.memory, memory, sizeof memory);
    fwrite(&out, sizeof out, 1, stdout);
  }
  return 0;
}
