"""What anybody must take at least: prints the seconds that a plain loop takes to write the files of a bundle.

The bytes are in memory already; nothing is parsed, computed, checked, hashed or kept whole. Then the seconds of giving
all of them second names in other folders and taking the first ones, each looked at before: what a bundle that is always
whole costs when hardly any of it is new.
"""

import os
import shutil
import sys
import time


def main(bundle: str, target: str) -> None:
    files = []
    for folder, _, names in os.walk(bundle):
        for name in names:
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                files.append((os.path.relpath(path, bundle), file.read()))
    files.sort()
    _write(files, target)  # the first time, the system looks for memory: for whoever comes first
    shutil.rmtree(target)
    began, cpu = time.perf_counter(), time.process_time()
    _write(files, target)
    print(time.perf_counter() - began, time.process_time() - cpu)
    began, cpu = time.perf_counter(), time.process_time()
    _take_over([path for path, _ in files], target, f"{target}.second")
    print(time.perf_counter() - began, time.process_time() - cpu)
    shutil.rmtree(f"{target}.second")


def _take_over(paths: list[str], first: str, second: str) -> None:
    old = os.open(first, os.O_RDONLY)
    os.mkdir(second)
    new = os.open(second, os.O_RDONLY)
    folders = dict.fromkeys(path.rpartition("/")[0] for path in paths)
    for folder in filter(None, folders):
        os.mkdir(folder, dir_fd=new)
    for path in paths:
        os.lstat(path, dir_fd=old)
        os.link(path, path, src_dir_fd=old, dst_dir_fd=new, follow_symlinks=False)
    for path in paths:
        os.unlink(path, dir_fd=old)
    for folder in filter(None, folders):
        os.rmdir(folder, dir_fd=old)
    os.rmdir(first)


def _write(files: list[tuple[str, bytes]], target: str) -> None:
    made = set()
    for path, content in files:
        full = f"{target}/{path}"
        folder = full.rpartition("/")[0]
        if folder not in made:
            os.makedirs(folder)
            made.add(folder)
        with open(full, "wb") as file:
            file.write(content)


main(*sys.argv[1:])
