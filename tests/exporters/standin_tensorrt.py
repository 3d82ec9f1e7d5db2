"""Stands in for TensorRT's Python module, and for libcudart, on a machine that has neither.

Copied as ``tensorrt.py`` into a Python that has nothing else but numpy. Its networks compute
`tests.bundles.reference` from ``weights.npy`` beside it; its plans name the graph that they are of.
``VERSION`` and ``FAIL`` stand in ``standin.json`` beside it: what fails, by a word of this file.
"""

# ruff: noqa: ANN001, ANN002, ANN201, ANN202, ANN204, N802, UP031 - the names and arguments are theirs

import ctypes
import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

HERE = Path(__file__).parent
SETTINGS = json.loads((HERE / "standin.json").read_text())
__version__ = SETTINGS["VERSION"]
FAIL = SETTINGS["FAIL"]
MAJOR = int(__version__.split(".")[0])
float32 = "float32"
N_SAMPLES, WIDTH, N_CLASSES = 8192, 128, 3


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING = 0, 1, 2


FLAGS = {8: {"EXPLICIT_BATCH": 0}, 10: {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1}, 11: {}}
NetworkDefinitionCreationFlag = SimpleNamespace(**FLAGS[MAJOR])
BuilderFlag = SimpleNamespace(**({"FP16": 0, "INT8": 1} if MAJOR < 11 else {"TF32": 2}))


def note(line):
    with (HERE / "calls.log").open("a") as file:
        file.write(line + "\n")


class Builder:
    def __init__(self, logger):
        self.logger = logger

    def create_network(self, flags):
        note("flags %d" % flags)
        return SimpleNamespace()

    def create_builder_config(self):
        return SimpleNamespace(
            set_flag=lambda flag: note("weak %d" % flag), add_optimization_profile=lambda _: None
        )

    def create_optimization_profile(self):
        return SimpleNamespace(set_shape=lambda name, *shapes: note(f"{name} {shapes}"))

    def build_serialized_network(self, network, config):
        note(f"build {network.path}")
        if FAIL == "interrupt" and "fp16" in network.path:
            raise KeyboardInterrupt
        if FAIL == "slow":
            time.sleep(60)
        if FAIL == "build" and "fp16" in network.path:
            self.logger.log(ILogger.ERROR, "Could not find any\n implementation")
            self.logger.log(ILogger.WARNING, "unrelated")
            return None
        return ("plan of " + Path(network.path).name).encode()


class OnnxParser:
    num_errors = 1

    def __init__(self, network, logger):
        self.network = network

    def parse_from_file(self, path):
        self.network.path = path
        return FAIL != "parse"

    def get_error(self, index):
        return SimpleNamespace(desc=lambda: "No importer registered for op")


class Runtime:
    def __init__(self, logger):
        self.logger = logger

    def deserialize_cuda_engine(self, plan):
        note(f"deserialize {plan.decode()}")
        return (
            Engine(plan) if FAIL != "deserialize" else self.logger.log(ILogger.ERROR, "bad magic")
        )


class Engine:
    names = ("waveform", "logits")
    num_io_tensors = 2

    def __init__(self, plan):
        self.fails_late = FAIL == "late" and b"fp16" in plan

    def get_tensor_name(self, index):
        return self.names[index]

    def get_tensor_shape(self, name):
        return (-1, N_SAMPLES if name == "waveform" else N_CLASSES)

    def get_tensor_dtype(self, name):
        return float32

    def create_execution_context(self):
        return Context(self.fails_late)


class Context:
    def __init__(self, fails_late):
        self.addresses = {}
        self.calls_left = 8 if fails_late else 1 << 30

    def set_tensor_address(self, name, address):
        self.addresses[name] = address

    def set_input_shape(self, name, shape):
        self.batch = shape[0]
        return True

    def execute_async_v3(self, stream):
        def compute():
            clips = array(self.addresses["waveform"], (self.batch, N_SAMPLES))
            logits = clips.reshape(self.batch, WIDTH, -1).mean(2) @ np.load(HERE / "weights.npy")
            array(self.addresses["logits"], logits.shape)[:] = logits * (2 if FAIL == "run" else 1)

        QUEUE.append(compute)
        self.calls_left -= 1
        return self.calls_left > 0


# libcudart: memory of the host, and a queue that is worked off when it is waited for.

BLOCKS, QUEUE = {}, []


def array(address, shape):
    return np.frombuffer(BLOCKS[address], np.float32, int(np.prod(shape))).reshape(shape)


class Cudart:
    def __init__(self):
        self.cudaGetErrorString = lambda code: b"made to fail"

    def cudaGetDeviceCount(self, count):
        fails = FAIL == "gpu" or (FAIL == "child" and "--memory-of" in sys.argv)
        count._obj.value = 0 if fails else 1
        return 0

    def cudaGetDevice(self, index):
        return 0

    def cudaDeviceGetAttribute(self, value, attribute, device):
        value._obj.value = {75: 8, 76: 7}[attribute]
        return 0

    def cudaGetDeviceProperties(self, properties, device):
        properties[:5] = b"Orin\0"
        return 0

    def cudaMalloc(self, pointer, size):
        block = ctypes.create_string_buffer(size.value)
        pointer._obj.value = ctypes.addressof(block)
        BLOCKS[pointer._obj.value] = block
        return 2 if FAIL == "memory" else 0

    def cudaStreamCreateWithFlags(self, stream, flags):
        stream._obj.value = 7
        return 0

    def cudaMemcpyAsync(self, to, source, size, kind, stream):
        assert size.value <= len(BLOCKS[(to if kind == 1 else source).value])
        QUEUE.append(lambda: ctypes.memmove(to.value, source.value, size.value))
        return 0

    def cudaStreamSynchronize(self, stream):
        while QUEUE:
            QUEUE.pop(0)()
        return 0


class Nvml:
    """A card that always takes 5 W."""

    def __init__(self):
        self.nvmlErrorString = lambda code: b"Not Supported"

    def nvmlInit_v2(self):
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index, device):
        device._obj.value = 1 + index.value
        return 0

    def nvmlDeviceGetName(self, device, text, length):
        text[:5] = b"Card\0"
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, device, millijoules):
        millijoules._obj.value = int(5000 * time.perf_counter())
        return 3 if FAIL == "nvml" else 0


def load(name, *arguments):
    known = {"libcudart.so.12": Cudart, "libnvidia-ml.so.1": Nvml}
    if name not in known:
        raise OSError("cannot open shared object file")
    return known[name]()


ctypes.CDLL = load
