package gmme.edge

import android.media.AudioFormat
import android.media.AudioRecord
import android.media.MediaRecorder
import java.io.Closeable
import java.io.IOException

/** The microphone at 48 kHz, mono. The app holds RECORD_AUDIO. */
class Microphone : Closeable {
    val rateHz = 48_000
    private val block = ShortArray(rateHz / 10)
    private val record: AudioRecord

    init {
        val channel = AudioFormat.CHANNEL_IN_MONO
        val encoding = AudioFormat.ENCODING_PCM_16BIT
        val least = AudioRecord.getMinBufferSize(rateHz, channel, encoding)
        if (least <= 0) throw IOException("no microphone of $rateHz Hz")
        // Two seconds wait while a window is computed. The source for recognition is the one whose
        // automatic gain and noise suppression are off on every device that passes Android's tests.
        record = AudioRecord(
            MediaRecorder.AudioSource.VOICE_RECOGNITION,
            rateHz, channel, encoding, maxOf(least, 2 * 2 * rateHz)
        )
        if (record.state != AudioRecord.STATE_INITIALIZED) {
            record.release()
            throw IOException("the microphone does not open")
        }
        record.startRecording()
    }

    /** The next 0.1 s or less at full scale 1; waits for it. */
    fun read(): FloatArray {
        val count = record.read(block, 0, block.size)
        if (count < 0) throw IOException("the microphone failed: $count")
        return FloatArray(count) { block[it] / 32_768f }
    }

    override fun close() = record.release()
}
