"""What a model server's operator relies on: batching, the server's files, the commands in the
README, and folders that killed exports left."""

import inspect
import os
import re
import time
from pathlib import Path

import numpy as np
import pytest
from clients import UNREADABLE, jpeg, loaded
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf import wrappers_pb2
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from captioner import config, evaluation
from captioner.captioning import Captioner
from captioner.inputs.files import remove_abandoned
from captioner.serving import batching, exporting, signatures
from captioner.serving.contract import SIGNATURES

ROOT = Path(__file__).resolve().parent.parent
SERVER = ROOT / "saved_models"

# The fields of two messages that tensorflow-serving-api doesn't bring, from TensorFlow Serving's
# session_bundle_config.proto and monitoring_config.proto: name, number, type, repeated.
INT64, STRING, BOOL = ".google.protobuf.Int64Value", ".google.protobuf.StringValue", "bool"
MESSAGES = {
    "BatchingParameters": [
        ("max_batch_size", 1, INT64, False),
        ("batch_timeout_micros", 2, INT64, False),
        ("max_enqueued_batches", 3, INT64, False),
        ("num_batch_threads", 4, INT64, False),
        ("thread_pool_name", 5, STRING, False),
        ("allowed_batch_sizes", 6, "int64", True),
        ("pad_variable_length_inputs", 7, BOOL, False),
    ],
    "PrometheusConfig": [("enable", 1, BOOL, False), ("path", 2, "string", False)],
    "MonitoringConfig": [("prometheus_config", 1, ".test.PrometheusConfig", False)],
}

# Flags of tensorflow_model_server, from its main.cc.
FLAGS = frozenset(
    """port rest_api_port model_config_file model_config_file_poll_wait_seconds enable_batching
    allow_version_labels_for_unavailable_models batching_parameters_file enable_model_warmup
    enable_per_model_batching_parameters monitoring_config_file rest_api_timeout_in_ms""".split()
)


def parsed(name: str, path: Path):
    """A text file as the message `name` of MESSAGES; fails on fields that it doesn't have."""
    Field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="test.proto", package="test", syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
    )  # fmt: skip
    for message, fields in MESSAGES.items():
        made = file.message_type.add(name=message)
        for field, number, kind, repeated in fields:
            label = Field.LABEL_REPEATED if repeated else Field.LABEL_OPTIONAL
            one = made.field.add(name=field, number=number, label=label)
            if kind.startswith("."):
                one.type, one.type_name = Field.TYPE_MESSAGE, kind
            else:
                one.type = getattr(Field, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    message = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"test.{name}"))()
    return text_format.Parse(path.read_text(encoding="utf-8"), message)


@pytest.fixture(scope="module")
def version(tiny_run):
    return tiny_run / "export" / "1"


# Batching.


def test_batching_parameters_are_what_the_server_asks_for(version):
    found = parsed("BatchingParameters", version / "batching_params.pbtxt")
    sizes = list(found.allowed_batch_sizes)
    assert sizes == list(batching.SIZES) == sorted(set(sizes))
    assert sizes[0] == 1 and sizes[-1] == found.max_batch_size.value
    assert 0 < found.batch_timeout_micros.value <= 50_000
    assert found.max_enqueued_batches.value > 0
    # The server ignores what a model says of threads.
    assert not found.HasField("num_batch_threads") and not found.HasField("thread_pool_name")


def test_the_largest_batch_takes_what_our_own_programs_send():
    asked = inspect.signature(Captioner.caption).parameters["batch_size"].default
    assert max(asked, evaluation._BATCH) <= batching.SIZES[-1]


def test_the_checker_of_text_files_finds_mistakes(tmp_path):
    path = tmp_path / "wrong"
    for text in ("max_batch_sise { value: 3 }", "max_batch_size: 3", "max_batch_size {"):
        path.write_text(text)
        with pytest.raises(text_format.ParseError):
            parsed("BatchingParameters", path)


def merged(requests: list[dict], sizes=batching.SIZES) -> dict[str, list[bytes]]:
    """A batch of requests as TensorFlow Serving's batching session makes it: their rows one after
    the other, filled up with copies of the last request's first row."""
    total = sum(len(request["image_bytes"]) for request in requests)
    missing = min(size for size in sizes if size >= total) - total
    return {
        key: [
            *(row for request in requests for row in request[key]),
            *requests[-1][key][:1] * missing,
        ]
        for key in requests[0]
    }


def asked(signature: str, seeds: list[int], **others: bytes) -> dict[str, list[bytes]]:
    """A request with a picture for each seed, and `others`."""
    images = [jpeg(seed, 80 + 10 * seed, 90) for seed in seeds] + list(others.values())
    prompts = [(b"", b"a red", b"the dog\xe2\x80\xa6")[i % 3] for i in range(len(images))]
    inputs = {"image_bytes": images, "prompt": prompts}
    return {"image_bytes": images} if signature == "serving_default" else inputs


@pytest.mark.parametrize("signature", SIGNATURES)
def test_merged_and_padded_batches_give_the_rows_of_single_calls(tiny_run, signature):
    call = loaded(tiny_run / "export").call
    first = asked(signature, [1, 2, 3])
    second = asked(signature, [4, 5])
    batch = merged([first, second])
    assert len(batch["image_bytes"]) == 8
    assert batch["image_bytes"][5:] == [second["image_bytes"][0]] * 3
    together = call(signature, batch)
    assert {len(rows) for rows in together.values()} == {8}
    for request, rows in ((first, slice(0, 3)), (second, slice(3, 5))):
        for key, alone in call(signature, request).items():
            if alone.dtype == object:
                np.testing.assert_array_equal(together[key][rows], alone, key)
            else:
                np.testing.assert_allclose(together[key][rows], alone, atol=1e-3, err_msg=key)
    assert not any(together["error"])


@pytest.mark.parametrize("signature", SIGNATURES)
def test_what_fills_a_batch_up_changes_no_bit_of_it(tiny_run, signature):
    call = loaded(tiny_run / "export").call
    batch = merged([asked(signature, [1, 2, 3]), asked(signature, [4, 5])])
    together = call(signature, batch)
    for other in (jpeg(9), *UNREADABLE.values()):
        filled = batch | {"image_bytes": [*batch["image_bytes"][:5], *[other] * 3]}
        for key, rows in call(signature, filled).items():
            np.testing.assert_array_equal(rows[:5], together[key][:5], key)


def test_a_batch_filled_up_with_an_unreadable_image(tiny_run):
    call = loaded(tiny_run / "export").call
    first = asked("serving_default", [1, 2])
    last = asked("serving_default", [], bad=b"no picture")
    batch = merged([first, last])
    assert len(batch["image_bytes"]) == 4
    found = call("serving_default", batch)
    assert [error == b"" for error in found["error"]] == [True, True, False, False]
    alone = call("serving_default", first)
    np.testing.assert_array_equal(found["caption"][:2], alone["caption"])


# The server's own files.


@pytest.fixture(scope="module")
def model():
    text = (SERVER / "models.config").read_text(encoding="utf-8")
    (one,) = text_format.Parse(text, ModelServerConfig()).model_config_list.config
    return one


def test_a_newcomer_s_first_export_is_what_the_server_is_told_to_load(model):
    """Version 1 alone is there; a label on any other would have nothing to point to."""
    assert model.model_version_policy.WhichOneof("policy_choice") == "specific"
    assert list(model.model_version_policy.specific.versions) == [1]
    assert dict(model.version_labels) == {"stable": 1, "canary": 1}
    assert model.model_platform == "tensorflow"


def test_the_batching_file_has_the_threads_and_nothing_else():
    found = parsed("BatchingParameters", SERVER / "batching.config")
    named = {field.name for field, _ in found.ListFields()}
    assert named == {"num_batch_threads", "thread_pool_name"}
    assert 1 <= found.num_batch_threads.value <= 4


def test_monitoring_is_on_where_the_readme_says(readme):
    found = parsed("MonitoringConfig", SERVER / "monitoring.config").prometheus_config
    assert found.enable and f"8501{found.path}`" in readme


@pytest.mark.parametrize("name", ["models.config", "batching.config", "monitoring.config"])
def test_git_keeps_the_server_s_files(name):
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert ignored.index(f"!/saved_models/{name}") > ignored.index("/saved_models/*")


@pytest.fixture(scope="module")
def readme() -> str:
    return (SERVER / "README.md").read_text(encoding="utf-8")


def commands(readme: str) -> list[str]:
    return [text for text in re.findall(r"```\n(.*?)```", readme, re.S) if "--model_config" in text]


def test_start_commands_have_flags_that_the_server_knows(readme):
    container, binary = commands(readme)
    for command in (container, binary):
        assert set(re.findall(r" --(\w+)=", command)) <= FLAGS
    same = [set(re.findall(r"--(\w+=\w+)(?=\s)", one)) for one in (container, binary)]
    assert same[0] <= same[1] and "enable_batching=true" in same[0]
    assert set(re.findall(r"`--(\w+)(?:=\w+)?`", readme)) <= FLAGS


def test_start_commands_name_files_that_are_there(readme, model):
    container, binary = commands(readme)
    assert '"$PWD/saved_models:/models:ro"' in container
    named = re.findall(r"=/models/(\S+)", container)
    assert len(named) == 3 and all((SERVER / name).is_file() for name in named)
    named = re.findall(r'="\$PWD/saved_models/(\S+)"', binary)
    mounted = re.findall(r"=/models/(\S+)", container)
    assert [name.replace(".local", "") for name in named] == mounted
    # What sed makes of the container's path.
    assert model.base_path == f"/models/{model.name}" == "/models/captioner"
    assert f"models/{model.name}/labels/stable:predict" in readme


def test_nothing_is_published_beyond_this_machine(readme):
    assert re.findall(r"-p (\S+)", readme)
    assert all(one.startswith("127.0.0.1:") for one in re.findall(r"-p (\S+)", readme))


# What killed exports leave.


def test_old_unfinished_exports_are_removed_and_young_ones_are_not(tmp_path):
    now, long_ago = time.time(), time.time() - 2 * 24 * 3600
    for name, inner in ((".writing-old", long_ago), (".writing-young", now), ("1", long_ago)):
        folder = tmp_path / name / "variables"
        folder.mkdir(parents=True)
        (folder / "variables.data").write_bytes(b"x")
        for path in (folder / "variables.data", folder, tmp_path / name):
            os.utime(path, (inner if path.is_file() else long_ago,) * 2)
    remove_abandoned(tmp_path, ".writing-")
    # The young one's folders are old: a large file in it is still being written.
    assert sorted(path.name for path in tmp_path.iterdir()) == [".writing-young", "1"]


def test_an_export_removes_them(tmp_path, monkeypatch):
    class Stopped(Exception):
        pass

    def stop(*_):
        raise Stopped

    old = tmp_path / ".writing-0123"
    old.mkdir()
    os.utime(old, (0, 0))
    monkeypatch.setattr(signatures, "ServedCaptioner", stop)
    with pytest.raises(Stopped):
        exporting.export(None, config.settings(), tmp_path, {})
    assert not list(tmp_path.iterdir())
