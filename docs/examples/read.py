"""Searches the current snapshot below an output: python read.py OUTPUT [TASK]"""
import json, sys
from pathlib import Path

import duckdb, faiss, numpy as np, pyarrow.parquet as pq

root = Path(sys.argv[1])
snapshot = json.loads((root / "CURRENT").read_text())["snapshot"]
manifest = json.loads((root / "snapshots" / snapshot / "manifest.json").read_text())
task = next(t for t in manifest["tasks"] if t["name"] in sys.argv[2:] or not sys.argv[2:])
# The manifest lists a snapshot's files; folders hold those of other snapshots, too, so never use a glob.
paths = lambda kind: [str(root / f["path"]) for f in manifest["files"] if f["kind"] == kind and f.get("task", task["name"]) == task["name"]]

items = duckdb.read_parquet(paths("items"))
embeddings = pq.read_table(paths("embeddings"))  # image_id, embedding: FixedSizeList<float32>[dim]
key, query = duckdb.sql("SELECT key, embedding FROM items JOIN embeddings USING (image_id) ORDER BY image_id LIMIT 1").fetchall()[0]

index = faiss.read_index(str(root / task["index"]["path"]))
faiss.ParameterSpace().set_index_parameters(index, task["index"]["params"])
scores, ids = index.search(np.array([query], np.float32), 6)
keys = dict(duckdb.sql("SELECT image_id, key FROM items WHERE image_id IN (SELECT unnest($ids))", params={"ids": ids[0].tolist()}).fetchall())
print(f"{task['name']}: {key} resembles", ", ".join(f"{keys[i]} ({s:.4f})" for i, s in zip(ids[0].tolist(), scores[0]) if i in keys and keys[i] != key))
