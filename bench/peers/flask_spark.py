"""Predictions by Spark in the request: Flask, and a ``transform`` of a fitted pipeline for each row that is asked.

Served by gunicorn with one worker of eight threads, as Flask's own server is not meant for use.

    BENCH_CSV=FILE gunicorn --threads 8 --bind 127.0.0.1:PORT bench.peers.flask_spark:app
"""

from __future__ import annotations

import os

from flask import Flask, Response, jsonify, request
from pyspark.ml import Pipeline
from pyspark.ml.classification import LogisticRegression
from pyspark.sql import SparkSession

from bench.peers.bare_pyspark import EFFICIENCY, SCHEMA, with_device_type

LABEL = "SmartHomeEfficiency"

spark = SparkSession.builder.master("local[*]").appName("flask").getOrCreate()
rows = spark.read.csv(os.environ["BENCH_CSV"], header=True, schema=SCHEMA)
model = Pipeline(stages=[*with_device_type(EFFICIENCY), LogisticRegression(labelCol=LABEL, regParam=0.01)]).fit(rows)
asked = ", ".join(column for column in SCHEMA.split(", ") if column.split()[0] in [*EFFICIENCY, "DeviceType"])
app = Flask(__name__)


@app.post("/predict")
def predict() -> Response:
    row = request.get_json()
    frame = spark.createDataFrame([[row[column.split()[0]] for column in asked.split(", ")]], schema=asked)
    answer = model.transform(frame).select("prediction", "probability").first()
    chances = {str(number): float(chance) for number, chance in enumerate(answer["probability"])}
    return jsonify(prediction=int(answer["prediction"]), probability=chances)
