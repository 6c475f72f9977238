/* Sockets between a guest and its host: `vsock connect PORT TEXT` sends a line and prints the answer, `vsock listen PORT` answers one line. */
#include <linux/vm_sockets.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int failed(const char *what)
{
    perror(what);
    return 1;
}

int main(int count, char **words)
{
    char line[256];
    struct sockaddr_vm address = { .svm_family = AF_VSOCK, .svm_port = count > 2 ? strtoul(words[2], NULL, 0) : 0 };
    int handle = socket(AF_VSOCK, SOCK_STREAM, 0);
    if (handle < 0 || count < 3)
        return failed("socket");
    if (strcmp(words[1], "connect") == 0) {
        address.svm_cid = VMADDR_CID_HOST;
        if (connect(handle, (struct sockaddr *)&address, sizeof address) < 0)
            return failed("connect");
        dprintf(handle, "%s\n", count > 3 ? words[3] : "");
    } else {
        address.svm_cid = VMADDR_CID_ANY;
        if (bind(handle, (struct sockaddr *)&address, sizeof address) < 0 || listen(handle, 1) < 0)
            return failed("listen");
        puts("listening");
        fflush(stdout);
        handle = accept(handle, NULL, NULL);
        if (handle < 0)
            return failed("accept");
    }
    ssize_t length = read(handle, line, sizeof line - 1);
    if (length < 0)
        return failed("read");
    line[length] = 0;
    printf("heard %s", line);
    if (strcmp(words[1], "listen") == 0)
        dprintf(handle, "answer to %s", line);
    return 0;
}
