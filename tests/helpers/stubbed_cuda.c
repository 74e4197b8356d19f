// A CUDA that has two devices and can do nothing: what torch asks for before any kernel runs. Loaded with LD_PRELOAD,
// under the name of the driver's library, it lets torch start whatever it starts for each GPU of a machine.
static int chosen = 0;

int cudaGetDeviceCount(int *count) { *count = 2; return 0; }
int cudaGetDevice(int *device) { *device = chosen; return 0; }
int cudaSetDevice(int device) { chosen = device; return 0; }
int cudaGetLastError(void) { return 0; }
int cudaPeekAtLastError(void) { return 0; }
int cudaStreamIsCapturing(void *stream, int *status) { *status = 0; return 0; }
int cudaDeviceGetStreamPriorityRange(int *least, int *greatest) { *least = *greatest = 0; return 0; }

int cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active)
{
    if (flags) *flags = 0;
    if (active) *active = 0;
    return 0;
}
int cuDevicePrimaryCtxGetState_v2(int device, unsigned *flags, int *active)
{
    return cuDevicePrimaryCtxGetState(device, flags, active);
}
