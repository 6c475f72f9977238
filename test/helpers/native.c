/* Runs single instructions on the processor of the host: cases on standard input, results on standard output. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define DATA_PAGE ((uint8_t *)0xa00000)

struct test {
  uint8_t code[16]; /* code[15] is the length */
  uint8_t fx[512];
  uint64_t gpr[16];
  uint64_t flags;
  uint64_t signal;
  uint8_t memory[64];
  uint8_t padding[32];
} __attribute__((aligned(64)));

static struct test current;
struct test *test_state = &current;
void (*test_code)(void);
uint64_t test_rdi, test_rsp;
static uint8_t own_fx[512] __attribute__((aligned(16)));
static sigjmp_buf back;

void run_test(void);
__asm__(
  ".intel_syntax noprefix\n"
  ".globl run_test\n"
  "run_test:\n"
  "push rbx; push rbp; push r12; push r13; push r14; push r15\n"
  "mov [rip+test_rsp], rsp\n"
  "mov rdi, [rip+test_state]\n"
  "fxrstor64 [rdi+16]\n"
  "push [rdi+656]; popfq\n"
  "mov rax, [rdi+528]; mov rcx, [rdi+536]; mov rdx, [rdi+544]; mov rbx, [rdi+552]\n"
  "mov rbp, [rdi+568]; mov rsi, [rdi+576]\n"
  "mov r8, [rdi+592]; mov r9, [rdi+600]; mov r10, [rdi+608]; mov r11, [rdi+616]\n"
  "mov r12, [rdi+624]; mov r13, [rdi+632]; mov r14, [rdi+640]; mov r15, [rdi+648]\n"
  "mov rdi, [rdi+584]\n"
  "call [rip+test_code]\n"
  "mov [rip+test_rdi], rdi\n"
  "mov rdi, [rip+test_state]\n"
  "mov [rdi+528], rax; mov [rdi+536], rcx; mov [rdi+544], rdx; mov [rdi+552], rbx\n"
  "mov [rdi+568], rbp; mov [rdi+576], rsi\n"
  "mov [rdi+592], r8; mov [rdi+600], r9; mov [rdi+608], r10; mov [rdi+616], r11\n"
  "mov [rdi+624], r12; mov [rdi+632], r13; mov [rdi+640], r14; mov [rdi+648], r15\n"
  "mov rax, [rip+test_rdi]; mov [rdi+584], rax\n"
  "pushfq; pop [rdi+656]\n"
  "fxsave64 [rdi+16]\n"
  "cld\n"
  "pop r15; pop r14; pop r13; pop r12; pop rbp; pop rbx\n"
  "ret\n"
  ".att_syntax\n");

static void caught(int number) {
  siglongjmp(back, number);
}

int main(void) {
  uint8_t *page = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mmap(DATA_PAGE, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != DATA_PAGE) return 2;
  static uint8_t stack[65536];
  stack_t alternate = { .ss_sp = stack, .ss_size = sizeof stack };
  sigaltstack(&alternate, 0);
  struct sigaction action = { .sa_handler = caught, .sa_flags = SA_NODEFER | SA_ONSTACK };
  int numbers[] = { SIGSEGV, SIGILL, SIGFPE, SIGBUS, SIGTRAP };
  for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++) sigaction(numbers[i], &action, 0);
  test_code = (void (*)(void))page;
  __asm__ volatile("fxsave64 %0" : "=m"(own_fx));
  while (fread(&current, sizeof current, 1, stdin) == 1) {
    memcpy(page, current.code, 15);
    page[current.code[15]] = 0xc3;
    memcpy(DATA_PAGE, current.memory, sizeof current.memory);
    int number = sigsetjmp(back, 1);
    if (number == 0) run_test();
    __asm__ volatile("fxrstor64 %0" : : "m"(own_fx));
    current.signal = number;
    memcpy(current.memory, DATA_PAGE, sizeof current.memory);
    fwrite(&current, sizeof current, 1, stdout);
  }
  return 0;
}
