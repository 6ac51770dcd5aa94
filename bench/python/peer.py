#!/usr/bin/env python3
"""The obvious Python program for Facet's job, as the bench's peer.

Reads a folder of images, resizes with Pillow, runs every task of a model in ONNX Runtime, writes one
Parquet file a task and builds one FAISS index a task. It does less than Facet (no content hashes, no
quarantine, no recall, no publishing), so the ratio errs in its favour. One thread a core takes a whole
batch from file to vectors, with ONNX Runtime at one thread: Pillow and ONNX Runtime both let go of the
interpreter lock. --ort-threads N instead gives ONNX Runtime N threads and one batch at a time.
"""
import argparse, json, os, time
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import faiss
import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def loader(meta):
    """Returns a function from a file to a CHW float32 array, as the model's metadata asks."""
    pre = json.loads(meta["facet.preprocess"])
    assert pre["resize"] == "stretch" and pre["channels"] == "rgb", "the peer knows stretched RGB only"
    size = tuple(reversed(pre["size"]))
    resample = {"bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC}[pre["filter"]]
    std = np.array(pre["std"], np.float32)
    gain = np.float32(pre["scale"]) / std
    bias = -np.array(pre["mean"], np.float32) / std

    def load(path, out):
        with Image.open(path) as im:
            pixels = np.asarray(im.convert("RGB").resize(size, resample))
        np.multiply(pixels.transpose(2, 0, 1), gain[:, None, None], out=out)
        out += bias[:, None, None]

    return load, pre["size"]


def ordered(pool, work, batches, ahead):
    """Like pool.map, with at most `ahead` batches under way."""
    pending = deque()
    for b in batches:
        pending.append(pool.submit(work, b))
        if len(pending) >= ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def embed(a, session, tasks, names):
    """Returns one matrix of vectors a task."""
    load, (h, w) = loader(session.get_modelmeta().custom_metadata_map)
    outputs = [t["output"] for t in tasks]
    batches = [names[i : i + a.batch] for i in range(0, len(names), a.batch)]
    pool = ThreadPoolExecutor(a.cores)

    def pixels(batch):
        x = np.empty((len(batch), 3, h, w), np.float32)
        for row, name in zip(x, batch):
            load(os.path.join(a.images, name), row)
        return x

    def run(x):
        return session.run(outputs, {"images": x})

    if a.ort_threads == 1:
        results = ordered(pool, lambda b: run(pixels(b)), batches, 2 * a.cores)
    else:
        results = (run(x) for x in ordered(pool, pixels, batches, 2 * a.cores))
    return [np.concatenate(rows) for rows in zip(*results)]


def publish(a, task, names, vectors):
    """Writes one task's Parquet file and index."""
    rows = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), task["dim"])
    pq.write_table(pa.table({"key": names, "embedding": rows}), f"{a.out}/{task['name']}.parquet", row_group_size=10_000,
                   compression="zstd", use_dictionary=False, use_byte_stream_split=["embedding.list.element"])
    metric = faiss.METRIC_INNER_PRODUCT if task["metric"] == "cosine" else faiss.METRIC_L2
    index = faiss.index_factory(task["dim"], f"IDMap2,{a.index}", metric)
    if not index.is_trained:
        index.train(vectors)
    index.add_with_ids(vectors, np.arange(len(vectors), dtype=np.int64))
    faiss.write_index(index, f"{a.out}/{task['name']}.index")


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--images", required=True, help="folder of images")
    p.add_argument("--model", required=True, help="ONNX file with facet.tasks and facet.preprocess")
    p.add_argument("--out", required=True, help="folder for Parquet files and indexes")
    p.add_argument("--index", default="HNSW32", help="FAISS factory string")
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    p.add_argument("--ort-threads", type=int, default=1)
    p.add_argument("--limit", type=int, help="only so many images")
    a = p.parse_args()
    start = time.perf_counter()
    os.makedirs(a.out, exist_ok=True)
    options = ort.SessionOptions()
    options.intra_op_num_threads = a.ort_threads
    session = ort.InferenceSession(a.model, options, providers=["CPUExecutionProvider"])
    tasks = json.loads(session.get_modelmeta().custom_metadata_map["facet.tasks"])
    names = sorted(os.listdir(a.images))[: a.limit]
    vectors = embed(a, session, tasks, names)
    embedded = time.perf_counter()
    faiss.omp_set_num_threads(a.cores)
    for t, v in zip(tasks, vectors):
        publish(a, t, names, v)
    end = time.perf_counter()
    print(json.dumps({"images": len(names), "seconds": round(end - start, 3), "seconds_embed": round(embedded - start, 3),
                      "seconds_index": round(end - embedded, 3)}))


if __name__ == "__main__":
    main()
