package index

// Reference is an example of a job file with every key, its default and what it means. A test reads
// it and compares it with Defaults.
const Reference = `gallery: s3://catalogue/images/   # or a folder, or a mapping:
#  {prefix: s3://…/, include: ["*.jpg"], exclude: ["*/thumbs/*"]}
#  {manifest: s3://…/list.parquet, key: key, prefix: s3://…/, attributes: [colour]}
model: models/shop.onnx            # or {path: …, sha256: …, tasks: [{name, output, dim, metric, normalized}], preprocess: {…}}
output: s3://catalogue-index/      # or a folder
tasks: []                          # by name; none: all of the model's
index: {default: auto}             # or a FAISS factory string a task, as {style: "IVF1024,SQ8"}
shard_size: 16384                  # images a shard at most; counts for the first snapshot only
limits:
  reject: 0.01                     # share of the images that may end in quarantine
  pixels: 64M                      # of one image
  bytes: 64MiB                     # of one encoded image
  scans: 100                       # of one progressive JPEG
  seconds: 30                      # of one image: to decode it, and of silence while it is read
engine: onnxruntime                # or onnx-go, in a build with that tag
format: parquet                    # or arrow: Arrow IPC files beside the Parquet ones
batch: 8                           # images a run of the model
#cores: 2                          # default: all
fetch: 16                          # objects read at a time
memory:
  in_flight: 256MiB                # encoded images that are fetched and not decoded yet
  index: 8GiB                      # what an index may take when its type is auto
recall:
  queries: 500                     # vectors held out to measure each index with
  target: 0.95                     # recall@10 that search parameters are raised for
gate:                              # what a snapshot must pass before it becomes the current one; see README, The gate
  recall: 0.8                      # least recall@10 of each index
  neighbours: 0.5                  # least share of their 10 neighbours that unchanged images keep
  centroid: 0.2                    # farthest a task's mean vector may move, in lengths of a vector
  norm: 0.1                        # largest relative change of the vectors' mean length
  deleted: 0.2                     # largest share of last night's images that may be gone
  queries: 200                     # unchanged images that are searched for in both nights' indexes
lease: 2m                          # how long a run that stopped answering keeps others off the output
retrain:                           # when an IVF index is trained anew instead of updated
  changed: 0.3                     # share of the vectors that changed since training
  imbalance: 1.5                   # of its lists, times that after training
#scratch: /var/tmp                 # default: the system's folder for temporary files
`
