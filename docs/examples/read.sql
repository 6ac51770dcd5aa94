-- Reads the current snapshot below an output, in DuckDB:
--   duckdb -cmd "SET VARIABLE root = 'out/demo/index'" -f docs/examples/read.sql
-- The manifest lists a snapshot's files; a folder also holds those of other snapshots, so never use a glob.
SET VARIABLE snapshot = (SELECT snapshot FROM read_json(getvariable('root') || '/CURRENT'));
SET VARIABLE manifest = getvariable('root') || '/snapshots/' || getvariable('snapshot') || '/manifest.json';
SET VARIABLE items = (
  SELECT list(getvariable('root') || '/' || f.path)
  FROM (SELECT unnest(files) AS f FROM read_json(getvariable('manifest'))) WHERE f.kind = 'items');
SET VARIABLE task = coalesce(getvariable('task'), (SELECT tasks[1].name FROM read_json(getvariable('manifest'))));
SET VARIABLE embeddings = (
  SELECT list(getvariable('root') || '/' || f.path)
  FROM (SELECT unnest(files) AS f FROM read_json(getvariable('manifest')))
  WHERE f.kind = 'embeddings' AND f.task = getvariable('task'));

-- The five images nearest to the first one, exactly: what the published index approximates.
WITH images AS (
  SELECT image_id, key, embedding
  FROM read_parquet(getvariable('items')) AS i JOIN read_parquet(getvariable('embeddings')) AS e USING (image_id))
SELECT getvariable('task') AS task, other.key, round(list_inner_product(query.embedding, other.embedding)::DOUBLE, 4) AS similarity
FROM images AS other, (SELECT * FROM images ORDER BY image_id LIMIT 1) AS query
WHERE other.image_id <> query.image_id
ORDER BY list_inner_product(query.embedding, other.embedding) DESC, other.key
LIMIT 5;
