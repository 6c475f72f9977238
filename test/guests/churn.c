/*
 * Changing code: functions made by chance are written to fresh pages, run until they are hot, checked and unmapped; now and then one is a
 * program of its own, written to a file, executed and deleted. Usage: churn SECONDS. Prints "churn ROUNDS" each second, "churn wrong" on a wrong result.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, OPERATIONS = 48, PROGRAM_EVERY = 64, HEADERS = 120, BASE = 0x400000 };

static uint32_t state = 1;

static uint32_t chance(uint32_t below)
{
	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return state % below;
}

static uint8_t *word(uint8_t *at, uint32_t value)
{
	memcpy(at, &value, 4);
	return at + 4;
}

/* Writes: EAX = the start value; ECX times the operations; and computes what EAX is then. */
static uint8_t *make(uint8_t *at, uint32_t start, uint32_t times, uint32_t *result)
{
	uint32_t kinds[OPERATIONS], values[OPERATIONS], count = 4 + chance(OPERATIONS - 4), value = start;

	*at++ = 0xb8; /* mov eax, start */
	at = word(at, start);
	*at++ = 0xb9; /* mov ecx, times */
	at = word(at, times);
	uint8_t *loop = at;
	for (uint32_t i = 0; i < count; i++) {
		kinds[i] = chance(5);
		values[i] = state;
		switch (kinds[i]) {
		case 0: *at++ = 0x05; at = word(at, values[i]); break; /* add eax, value */
		case 1: *at++ = 0x2d; at = word(at, values[i]); break; /* sub eax, value */
		case 2: *at++ = 0x35; at = word(at, values[i]); break; /* xor eax, value */
		case 3: *at++ = 0x69; *at++ = 0xc0; at = word(at, values[i] | 1); break; /* imul eax, eax, value */
		case 4: *at++ = 0xc1; *at++ = 0xc0; *at++ = 1 + values[i] % 31; break; /* rol eax, value */
		}
	}
	*at++ = 0xff; /* dec ecx */
	*at++ = 0xc9;
	*at++ = 0x0f; /* jnz loop */
	*at++ = 0x85;
	at = word(at, (uint32_t)(loop - (at + 4)));
	for (uint32_t n = 0; n < times; n++)
		for (uint32_t i = 0; i < count; i++)
			switch (kinds[i]) {
			case 0: value += values[i]; break;
			case 1: value -= values[i]; break;
			case 2: value ^= values[i]; break;
			case 3: value *= values[i] | 1; break;
			case 4: value = value << (1 + values[i] % 31) | value >> (31 - values[i] % 31); break;
			}
	*result = value;
	return at;
}

static int function(void)
{
	size_t bytes = PAGE * (1 + chance(4));
	uint8_t *code = mmap(NULL, bytes, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint32_t expected;
	uint8_t *end;

	if (code == MAP_FAILED)
		return 0;
	uint8_t *start = code + chance(bytes - 512);
	end = make(start, state, 200 + chance(20000), &expected);
	*end = 0xc3; /* ret */
	uint32_t found = ((uint32_t(*)(void))start)();
	munmap(code, bytes);
	return found == expected;
}

/* A program file of one page that ends with the low bits of the result. */
static int program(void)
{
	static uint8_t file[PAGE];
	uint64_t *wide = (uint64_t *)file;
	uint32_t expected;
	uint8_t *end;
	int status, descriptor;
	pid_t child;

	memset(file, 0, sizeof file);
	memcpy(file, "\177ELF\2\1\1", 7);
	((uint16_t *)file)[8] = 2; /* an executable */
	((uint16_t *)file)[9] = 62; /* of x86-64 */
	((uint32_t *)file)[5] = 1;
	wide[3] = BASE + HEADERS; /* entry */
	wide[4] = 64; /* program headers */
	((uint16_t *)file)[26] = 64;
	((uint16_t *)file)[27] = 56;
	((uint16_t *)file)[28] = 1;
	((uint32_t *)file)[16] = 1; /* loaded, */
	((uint32_t *)file)[17] = 5; /* to be read and executed */
	wide[10] = wide[11] = BASE;
	wide[12] = wide[13] = PAGE;
	wide[14] = PAGE;
	end = make(file + HEADERS, state, 200 + chance(2000), &expected);
	memcpy(end, "\x89\xc7\xb8\xe7\0\0\0\x0f\x05", 9); /* mov edi, eax; mov eax, 231 (exit_group); syscall */
	descriptor = open("/tmp/program", O_CREAT | O_TRUNC | O_WRONLY, 0700);
	if (descriptor < 0 || write(descriptor, file, sizeof file) != sizeof file || close(descriptor) != 0)
		return 0;
	child = vfork();
	if (child == 0) {
		execl("/tmp/program", "program", (char *)NULL);
		_exit(expected + 1);
	}
	waitpid(child, &status, 0);
	unlink("/tmp/program");
	return WIFEXITED(status) && (uint32_t)WEXITSTATUS(status) == (expected & 255);
}

int main(int count, char **words)
{
	time_t end = time(NULL) + (count > 1 ? atoi(words[1]) : 1), told = 0;
	long rounds = 0;

	while (time(NULL) < end) {
		rounds++;
		if (!(rounds % PROGRAM_EVERY == 0 ? program() : function())) {
			printf("churn wrong\n");
			return 1;
		}
		if (time(NULL) != told) {
			told = time(NULL);
			printf("churn %ld\n", rounds);
			fflush(stdout);
		}
	}
	printf("churn ended after %ld\n", rounds);
	return 0;
}
