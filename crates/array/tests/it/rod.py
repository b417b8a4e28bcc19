# Copies the first MiB of one LUN to another by a ROD token, through libiscsi: URL INITIATOR FROM TO; CHAP from
# LIBISCSI_CHAP_USERNAME and LIBISCSI_CHAP_PASSWORD. Exit 0: done; 1: not; 2: no session.
import ctypes, glob, os, struct, sys

lib = ctypes.CDLL(sorted(glob.glob("/usr/lib/*/libiscsi.so.*") + glob.glob("/usr/lib/libiscsi.so.*"))[0])
BLOCKS, NONE, READ, WRITE = 2048, 0, 1, 2


class Task(ctypes.Structure):  # struct scsi_task, up to datain
    _fields_ = [("status", ctypes.c_int), ("cdb_size", ctypes.c_int), ("xfer_dir", ctypes.c_int),
                ("expxferlen", ctypes.c_int), ("cdb", ctypes.c_ubyte * 16), ("residual_status", ctypes.c_int),
                ("residual", ctypes.c_size_t), ("sense", ctypes.c_int * 4), ("size", ctypes.c_int),
                ("data", ctypes.POINTER(ctypes.c_ubyte))]


class Data(ctypes.Structure):  # struct iscsi_data
    _fields_ = [("size", ctypes.c_size_t), ("data", ctypes.c_char_p)]


def call(name, result, *kinds):
    function = getattr(lib, name)
    function.restype, function.argtypes = result, kinds
    return function


pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
task_pointer = ctypes.POINTER(Task)
context = call("iscsi_create_context", pointer, text)(sys.argv[2].encode())
error = call("iscsi_get_error", text, pointer)
portal, iqn, _ = sys.argv[1].removeprefix("iscsi://").split("/")
source, destination = int(sys.argv[3]), int(sys.argv[4])
call("iscsi_set_initiator_username_pwd", number, pointer, text, text)(
    context, os.environ["LIBISCSI_CHAP_USERNAME"].encode(), os.environ["LIBISCSI_CHAP_PASSWORD"].encode())
call("iscsi_set_targetname", number, pointer, text)(context, iqn.encode())
call("iscsi_set_session_type", number, pointer, number)(context, 2)  # a normal session
if call("iscsi_full_connect_sync", number, pointer, text, number)(context, portal.encode(), source) != 0:
    print(error(context).decode())
    sys.exit(2)

create = call("scsi_create_task", task_pointer, number, text, number, number)
run = call("iscsi_scsi_command_sync", task_pointer, pointer, number, task_pointer, ctypes.POINTER(Data))


def command(lun, cdb, out=b"", length=0):
    for attempt in range(4):  # unit attentions first
        way = WRITE if out else READ if length else NONE
        task = run(context, lun, create(16, cdb, way, len(out) or length), ctypes.byref(Data(len(out), out)) if out else None)
        if task and task.contents.status == 0:
            return ctypes.string_at(task.contents.data, task.contents.size) if length else b""
    print(cdb[:2].hex(), error(context).decode())
    sys.exit(1)


def offload(lun, action, header):
    parameters = bytearray(header + struct.pack(">QI4x", 0, BLOCKS))
    struct.pack_into(">H", parameters, 0, len(parameters) - 2)
    struct.pack_into(">H", parameters, len(header) - 2, 16)
    command(lun, struct.pack(">BB4xII2x", 0x83, action, 7, len(parameters)), bytes(parameters))


offload(source, 0x10, bytes(16))
told = command(source, struct.pack(">BBI4xI2x", 0x84, 0x07, 7, 1024), length=1024)
token = told[38:550]
assert told[5] == 1 and len(token) == 512, told.hex()
offload(destination, 0x11, bytes(16) + token + bytes(8))
call("iscsi_logout_sync", number, pointer)(context)
