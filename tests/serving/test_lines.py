"""What a process leaves behind besides its lines."""

import re
import subprocess
import sys


def test_F06_no_process_leaves_a_core_file(public_door):
    shown = "from consent_server.serving import lines; lines.install('work'); print(open('/proc/self/limits').read())"
    work = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=True).stdout
    with open(f"/proc/{public_door.process.pid}/limits", encoding="utf-8") as door:
        for limits in (work, door.read()):
            assert re.search(r"Max core file size +[01] +[01] ", limits)
