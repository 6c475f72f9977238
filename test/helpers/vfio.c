/* A driver in user space: takes edu from vfio-pci, moves data through the IOMMU, and reaches for an address that is not mapped. */
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static volatile uint32_t *regs;

static void move(uint64_t source, uint64_t destination, uint32_t count, uint32_t command) {
  uint64_t words[4] = { source, destination, count, command };
  for (int i = 0; i < 4; i++) { regs[0x80 / 4 + i * 2 + 1] = words[i] >> 32; regs[0x80 / 4 + i * 2] = words[i]; }
  for (int i = 0; i < 1000000 && (regs[0x98 / 4] & 1); i++) ;
}

/* vfio DEVICE GROUP */
int main(int argc, char **argv) {
  if (argc != 3) return 2;
  char path[64];
  snprintf(path, sizeof path, "/dev/vfio/%s", argv[2]);
  int container = open("/dev/vfio/vfio", O_RDWR), group = open(path, O_RDWR);
  struct vfio_group_status status = { .argsz = sizeof status };
  if (container < 0 || group < 0 || ioctl(group, VFIO_GROUP_GET_STATUS, &status)) { perror("open"); return 1; }
  printf("group viable %d\n", !!(status.flags & VFIO_GROUP_FLAGS_VIABLE));
  if (ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) || ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU)) { perror("container"); return 1; }
  unsigned char *memory = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memset(memory, 0x11, 8192);
  struct vfio_iommu_type1_dma_map map = { .argsz = sizeof map, .flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE, .vaddr = (uintptr_t)memory, .iova = 0x40000000, .size = 4096 };
  if (ioctl(container, VFIO_IOMMU_MAP_DMA, &map)) { perror("map"); return 1; }
  int device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, argv[1]);
  struct vfio_region_info region = { .argsz = sizeof region, .index = VFIO_PCI_BAR0_REGION_INDEX }, config = { .argsz = sizeof config, .index = VFIO_PCI_CONFIG_REGION_INDEX };
  if (device < 0 || ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &region) || ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &config)) { perror("device"); return 1; }
  uint16_t command = 6;
  pwrite(device, &command, 2, config.offset + 4);
  regs = mmap(0, region.size, PROT_READ | PROT_WRITE, MAP_SHARED, device, region.offset);
  if (regs == MAP_FAILED) { perror("mmap"); return 1; }
  printf("edu %08x\n", regs[0]);
  memcpy(memory, "through the IOMMU", 18);
  move(0x40000000, 0x40000, 18, 1);
  move(0x40000, 0x40000100, 18, 3);
  printf("moved: %s\n", memory + 256);
  move(0x40000, 0x40001000, 18, 3);
  printf("beyond the mapping: %s\n", memory[4096] == 0x11 ? "untouched" : "CHANGED");
  return 0;
}
