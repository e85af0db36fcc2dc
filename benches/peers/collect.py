"""Lines of benches/records/codec.jsonl for coders of others, on messages that `codec --save` kept.

collect.py PEERS MESSAGES-FOLDER OWN-LINES OUT ROUNDS PEER=COMMIT..

PEERS is the program made of peers.c; CompressAI's extension is found on PYTHONPATH. OWN-LINES are
those that the run with --save wrote: constriction in them is the base of the ratios.
"""

import json
import struct
import subprocess
import sys
import time
from pathlib import Path


COMMAND = "benches/peers/run.sh"


def read(path):
    """Symbols of each message, shares of each symbol, entropy, ideal bytes."""
    data = path.read_bytes()
    count, length, alphabet = struct.unpack_from("<3I", data)
    floats = struct.unpack_from(f"<{alphabet + 2}d", data, 12)
    begin = 12 + 8 * (alphabet + 2)
    messages = [data[begin + at * length : begin + (at + 1) * length] for at in range(count)]
    return messages, floats[:alphabet], floats[alphabet], floats[alphabet + 1]


def sixteen_bits(shares):
    """A cumulative table with a sum of 2^16 and no empty slot, plus one for the bypass."""
    frequencies = [max(1, round(share * 65536)) for share in shares] + [1]
    frequencies[frequencies.index(max(frequencies))] += 65536 - sum(frequencies)
    table = [0]
    for frequency in frequencies:
        table.append(table[-1] + frequency)
    return table


def quartile(times):
    times = sorted(times)
    return times[(len(times) - 1 + 2) // 4]


def compressai(messages, shares, rounds):
    """Encode and decode times in ns, and mean bytes, through the lists that it takes."""
    import ans

    encoder, decoder = ans.RansEncoder(), ans.RansDecoder()
    tables, lengths, offsets = [sixteen_bits(shares)], [len(shares) + 2], [0]
    lists = [list(message) for message in messages]
    indexes = [0] * len(messages[0])
    payloads = []
    for message in lists:
        payload = encoder.encode_with_indexes(message, indexes, tables, lengths, offsets)
        assert decoder.decode_with_indexes(payload, indexes, tables, lengths, offsets) == message
        payloads.append(payload)
    times = [[], []]
    for _ in range(rounds):
        begin = time.thread_time_ns()
        for message in lists:
            encoder.encode_with_indexes(message, indexes, tables, lengths, offsets)
        middle = time.thread_time_ns()
        for payload in payloads:
            decoder.decode_with_indexes(payload, indexes, tables, lengths, offsets)
        times[0].append(middle - begin)
        times[1].append(time.thread_time_ns() - middle)
    size = sum(len(payload) for payload in payloads) / len(payloads)
    return quartile(times[0]), quartile(times[1]), size


def main():
    program, folder, own, out, rounds, *commits = sys.argv[1:]
    own = [json.loads(line) for line in Path(own).read_text().splitlines()]
    versions = dict(commit.split("=", 1) for commit in commits)
    # Ours of the same minutes stand beside those of others.
    ours = [{**line, "command": COMMAND} for line in own]
    lines = []
    for path in sorted(Path(folder).glob("*.messages")):
        messages, shares, entropy, ideal = read(path)
        symbols = len(messages[0])
        run = [program, str(path), rounds]
        found = subprocess.run(run, check=True, capture_output=True, text=True).stdout
        rows = [line.split() for line in found.splitlines()]
        if symbols <= 16384:
            encode, decode, size = compressai(messages, shares, int(rounds))
            rows.append(["compressai-rans", "scalar", "1", encode, decode, size])
        for coder, way, lanes, encode, decode, size in rows:
            for op, spent in (("encode", encode), ("decode", decode)):
                is_base = lambda line: (
                    line["coder"] == "constriction-0.5-ans"
                    and (line["symbols"], line["op"]) == (symbols, op)
                    and abs(line["entropy"] - entropy) < 1e-3
                )
                base = next(line for line in own if is_base(line))
                rate = symbols * len(messages) / float(spent) * 1e3
                lines.append({
                    **base,
                    "command": COMMAND,
                    "versions": {**base["versions"], **versions},
                    "coder": coder,
                    "path": way,
                    "lanes": int(lanes),
                    "contexts": 0,
                    "msym_s": round(rate, 2),
                    "ratio_constriction": round(rate / base["msym_s"], 3),
                    "bytes": round(float(size), 3),
                })
    with open(out, "a") as file:
        for line in ours + lines:
            file.write(json.dumps(line, sort_keys=True, separators=(",", ":")) + "\n")
    for line in lines:
        over = line["bytes"] - line["ideal_bytes"]
        print(
            f"{line['symbols']:>8} {line['entropy']:>6} {line['coder']:<20} {line['path']:>7}"
            f" {line['op']} {line['msym_s']:>9.1f} Msym/s"
            f" {line['ratio_constriction']:>6.2f} {over:>9.1f} bytes over"
        )


if __name__ == "__main__":
    main()
