"""The machine that a table was measured on, in words."""
import os


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        lines = file.read().splitlines()
    name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown CPU")
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    units = [label for flag, label in (("avx512_bf16", "AVX512-BF16"), ("amx_bf16", "AMX-BF16")) if flag in flags]
    return f"{name}, {os.cpu_count()} cores{''.join(', ' + unit for unit in units)}"
