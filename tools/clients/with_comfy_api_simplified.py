"""The package comfy_api_simplified against a server: every call it has. with_comfy_api_simplified.py URL WORKFLOW.json PICTURE.png"""
import asyncio
import io
import json
import sys

from comfy_api_simplified import ComfyApiWrapper, ComfyWorkflowWrapper
from PIL import Image


def main():
    url, workflow, picture = sys.argv[1:]
    api = ComfyApiWrapper(url)
    flow = ComfyWorkflowWrapper(workflow)
    flow.set_node_param("Prompt", "text", "a blue sailboat in the center, a blue sea at sunset")
    for seed in (1, 2):                 # the second runs on loaded models
        flow.set_node_param("Sample", "seed", seed)
        images = api.queue_and_wait_images(flow, "Save")
        assert len(images) == 1, list(images)
        for name, content in images.items():
            image = Image.open(io.BytesIO(content))
            assert image.size == (256, 256), (name, image)
            assert json.loads(image.text["prompt"])["8"]["inputs"]["seed"] == seed

    # pictures straight over the WebSocket
    direct = ComfyWorkflowWrapper(json.loads(json.dumps(flow)))
    direct["10"] = {"class_type": "SaveImageWebsocket", "inputs": {"images": ["9", 0]}, "_meta": {"title": "Save"}}
    prompt_id, sent = asyncio.run(api.queue_prompt_and_wait(direct))
    # the client connects after it has posted: on a fast server there may be nothing left to hear
    assert all(Image.open(io.BytesIO(p)).format == "PNG" for p in sent)
    assert list(api.get_history(prompt_id)) == [prompt_id]

    assert api.upload_image(picture, "from_client") == {"name": picture.rsplit("/", 1)[-1], "subfolder": "from_client", "type": "input"}
    assert "KSampler" in api.get_object_info() and list(api.get_object_info("KSampler")) == ["KSampler"]
    assert api.get_system_stats()["devices"] and api.get_embeddings() == []
    assert api.get_queue() == {"queue_running": [], "queue_pending": []}
    api.interrupt()
    try:
        api.queue_prompt({"1": {"class_type": "Nope", "inputs": {}}})
    except Exception as e:
        assert "400" in str(e), e
    else:
        raise AssertionError("a prompt with an unknown class was taken")


main()
