"""What people test convolutions with, each behind one seam: it makes calls of a kernel, and judges what the kernel returns."""
