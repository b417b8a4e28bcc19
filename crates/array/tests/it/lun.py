# Writes or checks the first MiB of a LUN through libiscsi: URL INITIATOR write|churn|read BYTE; CHAP from
# LIBISCSI_CHAP_USERNAME and LIBISCSI_CHAP_PASSWORD. Exit 0: done, or the bytes are those; 1: not; 2: no session.
# churn says "writing" after the first write, and writes on until one fails.
import ctypes, glob, os, sys

lib = ctypes.CDLL(sorted(glob.glob("/usr/lib/*/libiscsi.so.*") + glob.glob("/usr/lib/libiscsi.so.*"))[0])
BLOCK, COUNT = 512, 2048


class Task(ctypes.Structure):  # struct scsi_task, up to datain
    _fields_ = [("status", ctypes.c_int), ("cdb_size", ctypes.c_int), ("xfer_dir", ctypes.c_int),
                ("expxferlen", ctypes.c_int), ("cdb", ctypes.c_ubyte * 16), ("residual_status", ctypes.c_int),
                ("residual", ctypes.c_size_t), ("sense", ctypes.c_int * 4), ("size", ctypes.c_int),
                ("data", ctypes.POINTER(ctypes.c_ubyte))]


def call(name, result, *kinds):
    function = getattr(lib, name)
    function.restype, function.argtypes = result, kinds
    return function


pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
context = call("iscsi_create_context", pointer, text)(sys.argv[2].encode())
error = call("iscsi_get_error", text, pointer)
portal, iqn, lun = sys.argv[1].removeprefix("iscsi://").split("/")
lun, byte = int(lun), int(sys.argv[4])
call("iscsi_set_initiator_username_pwd", number, pointer, text, text)(
    context, os.environ["LIBISCSI_CHAP_USERNAME"].encode(), os.environ["LIBISCSI_CHAP_PASSWORD"].encode())
call("iscsi_set_targetname", number, pointer, text)(context, iqn.encode())
call("iscsi_set_session_type", number, pointer, number)(context, 2)  # a normal session
if call("iscsi_full_connect_sync", number, pointer, text, number)(context, portal.encode(), lun) != 0:
    print(error(context).decode())
    sys.exit(2)

address, length = ctypes.c_uint64, ctypes.c_uint32
flags = [number] * 5
if sys.argv[3] in ("write", "churn"):
    write = call("iscsi_write16_sync", ctypes.POINTER(Task), pointer, number, address, text, length, number, *flags)
    data = bytes([byte]) * BLOCK * COUNT
    task = write(context, lun, 0, data, BLOCK * COUNT, BLOCK, 0, 0, 0, 0, 0)
    is_good = lambda: sys.argv[3] == "churn" and task and task.contents.status == 0
    if is_good():
        print("writing", flush=True)
        sys.stdout = sys.stderr  # for what ends it
    while is_good():
        call("scsi_free_scsi_task", None, ctypes.POINTER(Task))(task)
        task = write(context, lun, 0, data, BLOCK * COUNT, BLOCK, 0, 0, 0, 0, 0)
else:
    read = call("iscsi_read16_sync", ctypes.POINTER(Task), pointer, number, address, length, number, *flags)
    task = read(context, lun, 0, BLOCK * COUNT, BLOCK, 0, 0, 0, 0, 0)
if not task or task.contents.status != 0:
    print(error(context).decode())
    sys.exit(1)
if sys.argv[3] == "read":
    found = ctypes.string_at(task.contents.data, task.contents.size)
    if found != bytes([byte]) * BLOCK * COUNT:
        print("found", len(found), "bytes, the first", found[:8].hex())
        sys.exit(1)
call("iscsi_logout_sync", number, pointer)(context)
