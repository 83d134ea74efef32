"""The exported graph: its signatures, its ops, and what is stored of it, in either storage."""

import numpy as np
import pytest
import tensorflow as tf
from clients import loaded
from tensorflow.core.protobuf import saved_model_pb2

# Every op that an export may hold: core ops that TensorFlow 2.12 has, kernels of a stock server.
# No op of an add-on, none of XLA's or of an accelerator's, none that calls back into Python.
ALLOWED = frozenset(
    """Abs Add AddV2 All Any ArgMax ArgMin AsString Assert AssignVariableOp AvgPool BatchDatasetV2
    BatchMatMulV2 BiasAdd BitwiseAnd BroadcastTo Case Cast ClipByValue ConcatV2 ConcatenateDataset
    Const Conv2D Cumsum DatasetToSingleElement DecodeGif DecodeJpeg DecodePng DecodeRaw
    DenseBincount DepthwiseConv2dNative DisableCopyOnRead DivNoNan EnsureShape Equal Erf Erfc Exp
    ExpandDims ExtractJpegShape Fill FloorDiv FloorMod GatherNd GatherV2 Greater GreaterEqual
    HashTableV2 Identity If IgnoreErrorsDataset Less LessEqual Log Log1p LogSoftmax LogicalAnd
    LogicalNot LogicalOr LookupTableFindV2 LookupTableImportV2 MapDataset MatMul Max MaxPool Maximum
    Mean MergeV2Checkpoints Min Minimum Mul Neg NoOp NotEqual OneHot Pack Pad PadV2
    ParallelMapDatasetV2 PartitionedCall Placeholder Pow Prod RaggedGather RaggedRange
    RaggedTensorToTensor Range ReadVariableOp RealDiv ReduceJoin Relu Relu6 Reshape ResourceGather
    RestoreV2 RightShift Round Rsqrt SaveV2 ScaleAndTranslate ScatterNd Select SelectV2 Shape
    ShardedFilename Sigmoid Size Slice Softmax Softplus Split Sqrt Square SquaredDifference Squeeze
    StatefulPartitionedCall StatelessCase StatelessIf StatelessWhile StaticRegexFullMatch
    StaticRegexReplace StopGradient StridedSlice StringJoin StringLength StringLower StringSplitV2
    StringStrip Sub Substr Sum TakeDataset Tanh TensorDataset TensorListConcatV2
    TensorListFromTensor TensorListGetItem TensorListReserve TensorListSetItem TensorListStack
    TensorScatterAdd TensorSliceDataset Tile TopKV2 Transpose UnicodeDecode UnicodeEncode
    UnicodeTranscode Unique UniqueWithCounts Unpack UnsortedSegmentJoin UnsortedSegmentSum
    VarHandleOp Where While ZerosLike""".split()
)

# What an export in half precision needs besides: its float32 variables are of the graph's making.
WIDENING = frozenset({"DestroyResourceOp"})

B, K, T, H, W = -1, 3, 10, 2, 2  # of tiny_run: a 64-pixel square has a grid of 2 x 2
TEXT, FLOAT = (dtype.as_datatype_enum for dtype in (tf.string, tf.float32))


@pytest.fixture(scope="module", params=["float32", "float16"])
def storage(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def version(storage, exports):
    return exports[storage]


@pytest.fixture(scope="module")
def graph(version):
    saved = saved_model_pb2.SavedModel.FromString((version / "saved_model.pb").read_bytes())
    (meta_graph,) = saved.meta_graphs
    return meta_graph


def described(infos) -> dict:
    return {
        key: (info.dtype, [dim.size for dim in info.tensor_shape.dim])
        for key, info in infos.items()
    }


def test_signatures_are_the_contract_s(graph):
    image, prompt = {"image_bytes": (TEXT, [B])}, {"prompt": (TEXT, [B])}
    best = {"caption": (TEXT, [B]), "log_prob": (FLOAT, [B]), "error": (TEXT, [B])}
    several = {
        "captions": (TEXT, [B, K]),
        "log_probs": (FLOAT, [B, K]),
        "tokens": (TEXT, [B, K, T]),
        "attention": (FLOAT, [B, K, T, H, W]),
        "error": (TEXT, [B]),
    }
    found = {
        name: (described(one.inputs), described(one.outputs))
        for name, one in graph.signature_def.items()
        if not name.startswith("__")
    }
    assert found == {
        "serving_default": (image, best),
        "caption_with_prompt": (image | prompt, best),
        "caption_beams": (image | prompt, several),
    }
    assert set(graph.meta_info_def.tags) == {"serve"}


def test_only_ops_that_stock_servers_have(graph, storage):
    functions = graph.graph_def.library.function
    nodes = [*graph.graph_def.node, *(node for one in functions for node in one.node_def)]
    used = {node.op for node in nodes}
    calls = {one.signature.name for one in functions}
    allowed = ALLOWED if storage == "float32" else ALLOWED | WIDENING
    assert used - calls <= allowed, sorted(used - calls - allowed)
    assert not any(name in op for op in used for name in ("Xla", "PyFunc", "Cudnn"))


def test_no_computation_is_pinned_to_a_device(graph):
    """Files are read and decoded on the CPU; the model runs wherever the server likes."""
    pinned = {
        node.op
        for function in graph.graph_def.library.function
        if "_traced_" not in function.signature.name  # saving and restoring
        for node in function.node_def
        if node.device
    }
    assert not pinned & {"Conv2D", "MatMul", "BatchMatMulV2", "ReadVariableOp"}


def test_variables_and_functions_are_stored_once(storage, version, graph, tiny_run):
    reader = tf.train.load_checkpoint(str(version / "variables" / "variables"))
    stored = sum(
        int(np.prod(shape)) * reader.get_variable_to_dtype_map()[name].size
        for name, shape in reader.get_variable_to_shape_map().items()
        if reader.get_variable_to_dtype_map()[name] != tf.string
    )
    halved = storage == "float16"
    needed = sum(
        variable.numpy().nbytes // (2 if halved and len(variable.shape) > 1 else 1)
        for variable in loaded(tiny_run)._keep.variables
    )
    (data,) = (version / "variables").glob("variables.data-*")
    assert needed <= stored < 1.001 * needed + 5000
    assert data.stat().st_size < 1.01 * needed + 100_000
    # The convolutions of ResNet50, once for all three signatures.
    functions = graph.graph_def.library.function
    assert sum(n.op == "Conv2D" for f in functions for n in f.node_def) == 53
