"""
rylagraph on Modal: one container with one GPU that runs the server's binary, at one address for every endpoint.

    tools/bundle.sh deploy/rylagraph.tar.gz                       # the program with its libraries
    modal volume create rylagraph-models; modal volume put rylagraph-models MODELS/ /
    modal secret create rylagraph-keys RYLAGRAPH_KEYS="$(cat keys.txt)"
    modal deploy deploy/modal_app.py
"""
import os
import pathlib
import subprocess

import modal

GPU = os.environ.get("RYLAGRAPH_GPU", "L40S")
CUDA = "12.8.1"
PORT = 8188
HERE = pathlib.Path(__file__).parent

image = (
    modal.Image.from_registry(f"nvidia/cuda:{CUDA}-cudnn-runtime-ubuntu24.04", add_python="3.12")
    .add_local_file(HERE / "rylagraph.tar.gz", "/tmp/rylagraph.tar.gz", copy=True)
    .run_commands("mkdir /opt/rylagraph && tar -xzf /tmp/rylagraph.tar.gz -C /opt/rylagraph --strip-components=1")
)
app = modal.App("rylagraph", image=image)
models = modal.Volume.from_name("rylagraph-models", create_if_missing=True)
data = modal.Volume.from_name("rylagraph-data", create_if_missing=True)


@app.function(
    gpu=GPU,
    volumes={"/models": models, "/data": data},
    secrets=[modal.Secret.from_name("rylagraph-keys", required_keys=["RYLAGRAPH_KEYS"])],
    timeout=1800,
    scaledown_window=300,
    max_containers=1,  # the queue is one file, for one server
)
@modal.concurrent(max_inputs=100)
@modal.web_server(port=PORT, startup_timeout=60)
def serve():
    keys = pathlib.Path("/tmp/keys")
    keys.touch(mode=0o600)
    keys.write_text(os.environ.pop("RYLAGRAPH_KEYS"))
    subprocess.Popen(
        [
            "/opt/rylagraph/bin/rylagraph", "serve", "--listen", "0.0.0.0", "--port", str(PORT), "--api-key-file", str(keys),
            "--device", "cuda", "--gpu-type", GPU, "--models", "/models", "--base-directory", "/data",
            "--jobs-file", "/tmp/jobs.db",  # SQLite's locks do not work on a volume: jobs live as long as the container
            "--grace", "25",
        ]
    )
