"""A FastAPI route that parses the JSON body and answers a constant: what an endpoint can reach that does nothing.

python bench/peers/fastapi_constant.py PORT
"""

from __future__ import annotations

import sys

import orjson
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import Response

ANSWER = orjson.dumps(
    {
        "model": "efficiency",
        "generation": 1,
        "prediction": 1,
        "probability": {"0": 0.048681, "1": 0.951318},
        "label": "Efficient",
    }
)
app = FastAPI()


@app.post("/predict")
async def predict(request: Request) -> Response:
    row = orjson.loads(await request.body())
    if not isinstance(row, dict):
        return Response(status_code=422)
    return Response(ANSWER, media_type="application/json")


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", access_log=False, loop="uvloop", http="httptools")
