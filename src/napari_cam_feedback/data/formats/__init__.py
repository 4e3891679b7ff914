"""The forms that a dataset comes in: folders, tables, arrays, bitmaps, CIFAR's batches, stacks; and writing one."""
