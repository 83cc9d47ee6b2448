"""Users' kernels: what their authors declare, how they are found, and the backend made of one."""
