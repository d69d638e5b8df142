# nothing: no training; four samples, not more
import torch
from torch.utils.data import DataLoader, Dataset


class Noisy(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        print("sample", flush=True)
        return torch.zeros(2)


if __name__ == "__main__":
    for _ in DataLoader(Noisy(), batch_size=2, num_workers=1):
        pass
    print("end", flush=True)
