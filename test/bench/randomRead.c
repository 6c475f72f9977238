/* Reads of 4 KB at random places of a block device, one at a time and past the page cache. Prints how many a second. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <linux/fs.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	unsigned long long bytes = 0, seed = 1;
	void *buffer;
	int count = argc > 2 ? atoi(argv[2]) : 0;
	int file = argc > 1 ? open(argv[1], O_RDONLY | O_DIRECT) : -1;

	if (file < 0 || ioctl(file, BLKGETSIZE64, &bytes) || bytes < 4096 || posix_memalign(&buffer, 4096, 4096)) {
		perror("randomRead");
		return 1;
	}
	double began = now();
	for (int i = 0; i < count; i++) {
		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		if (pread(file, buffer, 4096, (seed >> 20) % (bytes / 4096) * 4096) != 4096) {
			perror("pread");
			return 1;
		}
	}
	printf("RATE %.0f\n", count / (now() - began));
	return 0;
}
