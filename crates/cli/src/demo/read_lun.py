# Reads a LUN through libiscsi: URL FILE INITIATOR; CHAP from LIBISCSI_CHAP_USERNAME and _PASSWORD.
# Without arguments: says whether libiscsi is here.
import ctypes, glob, sys

names = sorted(glob.glob("/usr/lib/*/libiscsi.so.*") + glob.glob("/usr/lib/libiscsi.so.*") + glob.glob("/usr/lib64/libiscsi.so.*"))
if not names:
    sys.exit("no libiscsi")
lib = ctypes.CDLL(names[0])
if len(sys.argv) < 4:
    sys.exit(0)


class Url(ctypes.Structure):  # struct iscsi_url of iscsi.h, as far as it is read here
    _fields_ = [("portal", ctypes.c_char * 256), ("target", ctypes.c_char * 256), ("user", ctypes.c_char * 256),
                ("passwd", ctypes.c_char * 256), ("target_user", ctypes.c_char * 256),
                ("target_passwd", ctypes.c_char * 256), ("lun", ctypes.c_int), ("iscsi", ctypes.c_void_p),
                ("transport", ctypes.c_int)]


class Data(ctypes.Structure):  # struct scsi_data
    _fields_ = [("size", ctypes.c_int), ("data", ctypes.POINTER(ctypes.c_ubyte))]


class Task(ctypes.Structure):  # struct scsi_task, up to datain
    _fields_ = [("status", ctypes.c_int), ("cdb_size", ctypes.c_int), ("xfer_dir", ctypes.c_int),
                ("expxferlen", ctypes.c_int), ("cdb", ctypes.c_ubyte * 16), ("residual_status", ctypes.c_int),
                ("residual", ctypes.c_size_t), ("sense", ctypes.c_int * 4), ("datain", Data)]


def call(name, result, *kinds):
    function = getattr(lib, name)
    function.restype, function.argtypes = result, kinds
    return function


pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
create = call("iscsi_create_context", pointer, text)
parse = call("iscsi_parse_full_url", ctypes.POINTER(Url), pointer, text)
username = call("iscsi_set_initiator_username_pwd", number, pointer, text, text)
target = call("iscsi_set_targetname", number, pointer, text)
session = call("iscsi_set_session_type", number, pointer, number)
connect = call("iscsi_full_connect_sync", number, pointer, text, number)
capacity = call("iscsi_readcapacity16_sync", pointer, pointer, number)
read = call("iscsi_read16_sync", pointer, pointer, number, ctypes.c_uint64, ctypes.c_uint32, number,
            number, number, number, number, number)
error = call("iscsi_get_error", text, pointer)
free = call("scsi_free_scsi_task", None, pointer)
logout = call("iscsi_logout_sync", number, pointer)

where, file, initiator = sys.argv[1:4]
context = create(initiator.encode())
url = parse(context, where.encode())
if not url:
    sys.exit("url: " + error(context).decode())
url = url.contents
if url.user:
    username(context, url.user, url.passwd)
target(context, url.target)
session(context, 2)  # a normal session
if connect(context, url.portal, url.lun) != 0:
    sys.exit("log in: " + error(context).decode())


def good(task, what):
    if not task or ctypes.cast(task, ctypes.POINTER(Task)).contents.status != 0:
        sys.exit(what + ": " + error(context).decode())
    return task


def taken(task):
    data = ctypes.cast(task, ctypes.POINTER(Task)).contents.datain
    copy = ctypes.string_at(data.data, data.size)
    free(task)
    return copy


header = taken(good(capacity(context, url.lun), "READ CAPACITY (16)"))
last, block = int.from_bytes(header[0:8], "big"), int.from_bytes(header[8:12], "big")
at, step = 0, (256 << 10) // block
with open(file, "wb") as out:
    while at <= last:
        count = min(step, last + 1 - at)
        task = good(read(context, url.lun, at, count * block, block, 0, 0, 0, 0, 0), "READ (16) at %d" % at)
        data = taken(task)
        if len(data) != count * block:
            sys.exit("READ (16) at %d: %d bytes instead of %d" % (at, len(data), count * block))
        out.write(data)
        at += count
logout(context)
