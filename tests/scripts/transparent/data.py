# How often a dataset is asked, by this process and by others, and what other processes return.
import multiprocessing
import os
import time

import torch
from torch.utils.data import DataLoader, Dataset


class Noisy(Dataset):
    def __len__(self):
        return 6

    def __getitem__(self, index):
        with open("asked.txt", "a") as file:
            file.write("x\n")
        return torch.full((2,), float(index))


def child(queue):
    queue.put((type(time.time()).__name__, __name__))


if __name__ == "__main__":
    for workers in (0, 2):
        print([batch.sum().item() for batch in DataLoader(Noisy(), batch_size=2, num_workers=workers)])
    pid = os.fork()
    if pid == 0:
        os._exit(5)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=child, args=(queue,))
    process.start()
    print(queue.get())
    process.join()
    print(len(open("asked.txt").readlines()), flush=True)
