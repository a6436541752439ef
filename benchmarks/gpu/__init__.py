"""Everything that only a GPU can prove, in one run: `python -m benchmarks.gpu`, or `bash run` in the kit.

GPU time comes in short slices on bare machines. So the checks are in the order of their worth, each is a process with a
time limit, and after each finding `gpu.json` and `gpu.md` are written anew: a run that is cut off leaves what was
measured.
"""
