"""What a user of Triton's client does, against an edge: triton_client.py ADDRESS FRAME ANSWER (both in hex)."""

import sys

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException


def main():
    address, frame, answer = sys.argv[1], bytes.fromhex(sys.argv[2]), bytes.fromhex(sys.argv[3])
    client = triton.InferenceServerClient(address)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("layer1")
    assert client.get_server_metadata().name == "split-edge"
    metadata = client.get_model_metadata("layer1")
    assert list(metadata.versions) == ["00000007"], metadata
    assert metadata.inputs[0].name == "frame", metadata

    def bytes_input(frames):
        tensor = triton.InferInput("frame", [len(frames)], "BYTES")
        tensor.set_data_from_numpy(np.array(frames, dtype=np.object_))
        return [tensor]

    result = client.infer("layer1", bytes_input([frame, frame]), request_id="one", client_timeout=5.0)
    assert result.get_response().id == "one"
    assert result.as_numpy("answer").tolist() == [answer, answer]

    one = triton.InferInput("frame", [1, len(frame)], "UINT8")
    one.set_data_from_numpy(np.frombuffer(frame, dtype=np.uint8).reshape(1, -1))
    result = client.infer("layer1", [one], model_version="00000007", parameters={"rung": 1})
    assert result.as_numpy("answer").tolist() == [answer]

    def refused(expected, inputs, model="layer1", **arguments):
        try:
            client.infer(model, inputs, **arguments)
        except InferenceServerException as error:
            assert expected in str(error), error
        else:
            raise AssertionError(f"not refused: {expected}")

    refused("isn't served; served are `layer1`", bytes_input([frame]), model="layer9")
    refused("sent as rung 2", bytes_input([frame]), parameters={"rung": 2})
    refused("differs in tables", bytes_input([frame]), parameters={"tables": "0000000000000033"})
    refused("unreadable frame", bytes_input([b"nonsense"]))
    # An error leaves the connection as it was.
    result = client.infer("layer1", bytes_input([frame]), timeout=1_000_000)
    assert result.as_numpy("answer").tolist() == [answer]
    print("all checks passed")


main()
