package gmme.edge

import java.io.ByteArrayOutputStream
import java.io.IOException
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.security.MessageDigest
import java.util.zip.Inflater
import org.json.JSONException
import org.json.JSONObject

/** What is wrong with a bundle or what was asked of it, in a sentence. */
class BundleException(message: String) : IOException(message)

/** A file of a bundle whose bytes are those of the export. */
class Checked(val name: String, val content: ByteArray)

/** A matrix of golden.npz. */
class Matrix(val shape: List<Int>, val values: FloatArray)

/**
 * A folder as `gmme-edge export` writes it.
 *
 * @param read a file's bytes by its name: from an app's assets, or a folder.
 */
class Bundle(private val read: (String) -> ByteArray) {
    private val manifest = try {
        JSONObject(String(read("manifest.json"), Charsets.UTF_8))
    } catch (error: JSONException) {
        throw BundleException("manifest.json is damaged: ${error.message}")
    }
    val sampleRateHz: Int
    val window: Int
    val labels: List<String>

    init {
        try {
            val model = manifest.getJSONObject("model")
            val names = manifest.getJSONArray("labels")
            sampleRateHz = model.getInt("sample_rate_hz")
            window = model.getInt("n_samples")
            labels = (0 until names.length()).map { names.getString(it) }
            val sane = manifest.getInt("schema") == 1 && sampleRateHz in 1..1_000_000 &&
                window in 1..(1 shl 24) && labels.size == model.getInt("n_classes")
            if (!sane) throw BundleException("manifest.json describes a network that none is")
        } catch (error: JSONException) {
            throw BundleException("manifest.json is damaged: ${error.message}")
        }
    }

    /** The largest relative error that the export allows this precision. */
    fun limit(precision: String): Double = manifest.optJSONObject("parity")
        ?.optJSONObject(precision)?.optDouble("limit") ?: Double.NaN

    /** The file of a role; null: the bundle has none. */
    fun checked(role: String, precision: String? = null): Checked? {
        val files = manifest.getJSONArray("files")
        for (file in (0 until files.length()).map { files.getJSONObject(it) }) {
            if (file.getString("role") != role) continue
            if (precision != null && file.optString("precision") != precision) continue
            val name = file.getString("path")
            if ('/' in name || name == "..") throw BundleException("$name lies outside the bundle")
            val content = read(name)
            val sum = MessageDigest.getInstance("SHA-256").digest(content)
            if (sum.joinToString("") { "%02x".format(it) } != file.getString("sha256")) {
                throw BundleException("$name has changed since the export: its SHA-256 differs")
            }
            return Checked(name, content)
        }
        return null
    }

    /** golden.npz: what the network hears and what it must answer. */
    fun golden(): Map<String, Matrix> = try {
        val file = checked("golden") ?: throw BundleException("the bundle has no golden vectors")
        unzip(file.content).mapKeys { it.key.removeSuffix(".npy") }.mapValues { matrix(it.value) }
    } catch (error: RuntimeException) { // an index that lies outside, a word that is no number
        throw BundleException("golden.npz is damaged: $error")
    }
}

/** The entries of a ZIP file. By hand: not every ZipInputStream reads the ZIP64 headers that NumPy writes. */
private fun unzip(content: ByteArray): Map<String, ByteArray> {
    val data = ByteBuffer.wrap(content).order(ByteOrder.LITTLE_ENDIAN)
    val short = { at: Int -> data.getShort(at).toInt() and 0xffff }
    val end = (content.size - 22 downTo 0).first { data.getInt(it) == 0x06054b50 }
    var at = data.getInt(end + 16)
    val entries = LinkedHashMap<String, ByteArray>()
    repeat(short(end + 10)) {
        val local = data.getInt(at + 42)
        val begin = local + 30 + short(local + 26) + short(local + 28)
        val packed = content.copyOfRange(begin, begin + data.getInt(at + 20))
        val name = String(content, at + 46, short(at + 28), Charsets.UTF_8)
        entries[name] = if (short(at + 10) == 0) packed else inflate(packed)
        at += 46 + short(at + 28) + short(at + 30) + short(at + 32)
    }
    return entries
}

private fun inflate(packed: ByteArray): ByteArray {
    val inflater = Inflater(true)
    inflater.setInput(packed)
    val out = ByteArrayOutputStream()
    val block = ByteArray(65_536)
    while (!inflater.finished()) {
        val count = inflater.inflate(block)
        check(count > 0) { "an entry is cut off" }
        out.write(block, 0, count)
    }
    inflater.end()
    return out.toByteArray()
}

private val SHAPE = Regex("""'shape':\s*\(([\d, ]*)\)""")

private fun matrix(raw: ByteArray): Matrix {
    val data = ByteBuffer.wrap(raw).order(ByteOrder.LITTLE_ENDIAN)
    val (start, length) = if (raw[6].toInt() == 1) Pair(10, data.getShort(8).toInt())
    else Pair(12, data.getInt(8))
    val header = String(raw, start, length, Charsets.ISO_8859_1)
    check("'<f4'" in header && "True" !in header) { "not little-endian float32 in C order" }
    val shape = SHAPE.find(header)!!.groupValues[1].split(',').map { it.trim() }
        .filter { it.isNotEmpty() }.map { it.toInt() }
    data.position(start + length)
    val count = shape.fold(1L) { product, size -> product * size }
    check(count <= data.remaining() / 4) { "fewer values than its shape says" }
    val values = FloatArray(count.toInt())
    data.slice().order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer().get(values)
    return Matrix(shape, values)
}
